//! Verbs that are one transaction: what each is told when one of them fails.

use std::sync::mpsc::sync_channel;

use tokio::sync::oneshot;

use super::Folder;
use crate::embedded::engine::Rows as _;
use crate::embedded::{Embedded, keys};
use crate::{Store as _, StoreError};

#[tokio::test]
async fn a_verb_that_fails_is_told_why_and_those_beside_it_to_try_again() {
    let folder = Folder::new();
    let store = Embedded::open(folder.options()).unwrap();
    let (begun, begins) = oneshot::channel();
    let (release, released) = sync_channel::<()>(0);
    let hold = store.write(move |_| {
        begun.send(()).unwrap();
        released.recv().unwrap();
        Ok(())
    });
    let fail = |why: &str| {
        let error = StoreError::Corrupt(why.into());
        store.write(|_| Err::<(), _>(error))
    };
    let key = || keys::bytes(keys::META, b"beside");
    let beside = store.write(move |tx| {
        tx.put_bytes(&key(), b"not written");
        Ok(())
    });
    // The others wait while the writer is held up by the first, and make up the next group.
    let rest = async {
        begins.await.unwrap();
        tokio::join!(biased; beside, fail("by itself"), fail("because of it"), async {
            release.send(()).unwrap();
        })
    };
    let (held, (beside, failed, behind, ())) = tokio::join!(hold, rest);
    held.unwrap();
    let unavailable = |told| matches!(told, Err(StoreError::Unavailable(_)));
    assert!(unavailable(beside));
    assert!(matches!(&failed, Err(StoreError::Corrupt(why)) if why == "by itself"), "{failed:?}");
    assert!(unavailable(behind));
    let written = store.write(move |tx| tx.get(&key())).await.unwrap();
    assert_eq!(written, None);
    store.close().await.unwrap();
}
