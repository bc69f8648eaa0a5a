//! Export and import of a folder.

use anser_proto::SessionId;

use super::{Folder, options};
use crate::contract::{Factory as _, World, fresh_seed};
use crate::dump::tests::{export, fill, import, seen, works};
use crate::dump::{Error, Place, Reader};
use crate::embedded::{Embedded, OpenError, check};
use crate::{Greeting, Hello};

fn place(folder: &Folder) -> Place {
    Place::Folder(folder.path().into())
}

fn refusal(folder: &Folder) -> Option<OpenError> {
    Embedded::open(options(folder.path())).err()
}

#[tokio::test]
async fn what_is_imported_is_what_was_exported() {
    let (from, to) = (Folder::new(), Folder::new());
    let seed = fresh_seed();
    fill(&from, seed).await;
    let store = from.open().await;
    let before = seen(&*store).await;
    store.close().await.unwrap();

    let (dump, summary) = export(&place(&from)).await;
    let rows: Vec<_> = summary.tables.iter().map(|table| (table.name, table.rows)).collect();
    assert!(rows.iter().all(|(_, rows)| *rows > 0), "some of everything: {rows:?}, seed {seed}");
    assert_eq!(Reader::check(&mut &dump[..]).unwrap(), summary);
    assert_eq!(import(&place(&to), &dump).await.unwrap(), summary);
    let store = to.open().await;
    assert_eq!(seen(&*store).await, before, "seed {seed}");
    works(&*store).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_exported_store_serves_no_more_until_it_has_a_new_epoch() {
    let folder = Folder::new();
    assert!(!check(folder.path()).unwrap(), "there is none");
    let world = World::open(&folder).await;
    assert!(matches!(check(folder.path()), Err(OpenError::Locked(_))));
    let (alice, _, conversation) = world.friends().await;
    world.commit(vec![alice.send(1, conversation, "honk")]).await;
    let epoch = world.store.meta().await.unwrap().epoch;
    let hello = Hello {
        session: SessionId(0),
        epoch: epoch.clone(),
        position: 2,
        outbox_head: 1,
        outbox_trimmed: 1,
    };
    let in_use = place(&folder).export(&mut Vec::new()).await;
    assert!(matches!(in_use, Err(Error::Folder(OpenError::Locked(_)))), "{in_use:?}");
    world.store.close().await.unwrap();

    let (dump, _) = export(&place(&folder)).await;
    assert!(matches!(refusal(&folder), Some(OpenError::Exported(_))));
    assert!(matches!(check(folder.path()), Err(OpenError::Exported(_))));
    assert_eq!(export(&place(&folder)).await.0, dump, "if the first one got lost");
    let new_epoch = place(&folder).new_epoch().await.unwrap();
    assert!(check(folder.path()).unwrap(), "it serves");
    assert_ne!(new_epoch, epoch);
    let store = folder.open().await;
    assert_eq!(store.meta().await.unwrap().epoch, new_epoch);
    let greeting = store.greet(alice.device, hello, 1).await.unwrap();
    assert!(matches!(greeting, Some(Greeting::Reset { outbox_position: 1, .. })), "{greeting:?}");
    store.close().await.unwrap();
    assert!(import(&place(&folder), &dump).await.is_err(), "a folder that holds something");
    let nothing = place(&Folder::new()).export(&mut Vec::new()).await;
    assert!(matches!(nothing, Err(Error::NoStore(_))), "{nothing:?}");
}

#[tokio::test]
async fn a_half_import_does_not_serve_and_is_made_anew() {
    let (from, to) = (Folder::new(), Folder::new());
    let world = World::open(&from).await;
    let (alice, _, conversation) = world.friends().await;
    world.commit(vec![alice.send(1, conversation, "honk")]).await;
    world.store.close().await.unwrap();
    let (dump, summary) = export(&place(&from)).await;
    let half = import(&place(&to), &dump[..dump.len() - 1]).await;
    assert!(matches!(half, Err(Error::Damaged(_))), "{half:?}");
    assert!(matches!(refusal(&to), Some(OpenError::Unfinished(_))));
    let export = place(&to).export(&mut Vec::new()).await;
    assert!(matches!(export, Err(Error::Folder(OpenError::Unfinished(_)))), "{export:?}");
    assert_eq!(import(&place(&to), &dump).await.unwrap(), summary);
    assert!(refusal(&to).is_none());
}

#[tokio::test]
async fn a_damaged_dump_is_noticed_at_every_byte() {
    let folder = Folder::new();
    let world = World::open(&folder).await;
    let (alice, _, conversation) = world.friends().await;
    world.store.claim_key_check(vec![0xab; 4]).await.unwrap();
    world.commit(vec![alice.send(1, conversation, "honk")]).await;
    world.store.close().await.unwrap();
    let (dump, _) = export(&place(&folder)).await;
    let check = |bytes: &[u8]| Reader::check(&mut &bytes[..]);
    assert!(check(&dump).is_ok());
    for at in 0..dump.len() {
        assert!(check(&dump[..at]).is_err(), "cut off at {at}");
        for bit in 0..8 {
            let mut flipped = dump.clone();
            flipped[at] ^= 1 << bit;
            assert!(check(&flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert!(check(&[&dump[..], &[0]].concat()).is_err(), "something behind it");
    let newer = [b"anser-dump 2\n", &dump[13..]].concat();
    assert!(matches!(check(&newer), Err(Error::NewerFormat)));
}
