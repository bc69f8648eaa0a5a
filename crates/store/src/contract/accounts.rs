//! Users, invitations, devices and tokens.

use anser_proto::UserId;

use super::{Factory, World, random_hash};
use crate::{CreateUser, Devices, NewDevice, NewUser, TokenOwner, UserChange, UserKey, UserState};

fn new_user(name: &str) -> NewUser {
    NewUser {
        id: UserId::random(),
        name: name.into(),
        display_name: "Alice A.".into(),
        password_hash: Some("$argon2id$".into()),
        system: true,
        invite: None,
        now_ms: 5,
    }
}

/// A user is found by id and name as it was made; a name is taken once, an id made free.
pub async fn accounts_names_are_unique(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let new = new_user("alice");
    let created = world.store.create_user(new.clone()).await.expect("creates");
    let CreateUser::Created(alice) = created else { panic!("{created:?}") };
    assert_eq!(alice.id, new.id, "the id was free");
    assert_eq!((alice.name.as_str(), alice.system, alice.created_at_ms), ("alice", true, 5));
    assert_eq!((alice.state, &alice.password_hash), (UserState::Active, &new.password_hash));

    let again = world.store.create_user(new_user("alice")).await.expect("answers");
    assert_eq!(again, CreateUser::NameTaken);
    let same_id = NewUser { name: "bob".into(), ..new };
    let created = world.store.create_user(same_id).await.expect("creates");
    let CreateUser::Created(bob) = created else { panic!("{created:?}") };
    assert_ne!(bob.id, alice.id, "the id was taken");

    world.reopen(factory).await;
    let by_id = world.store.user(UserKey::Id(alice.id)).await.expect("finds");
    let by_name = world.store.user(UserKey::Name("alice".into())).await.expect("finds");
    assert_eq!((by_id.as_ref(), by_name.as_ref()), (Some(&alice), Some(&alice)));
    assert_eq!(world.store.user(UserKey::Name("Alice".into())).await.expect("finds"), None);
    let mut all = vec![alice, bob];
    all.sort_by_key(|user| user.id);
    assert_eq!(world.store.users(None, 10).await.expect("lists"), all);
    assert_eq!(world.store.users(None, 1).await.expect("lists"), all[..1]);
    assert_eq!(world.store.users(Some(all[0].id), 10).await.expect("lists"), all[1..]);
}

/// An invitation is consumed once, and not by what fails.
pub async fn accounts_an_invitation_is_consumed_once(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let code = random_hash();
    let invited = |name: &str| NewUser { invite: Some(code), ..new_user(name) };
    let none = world.store.create_user(invited("early")).await.expect("answers");
    assert_eq!(none, CreateUser::InviteInvalid, "before it exists");
    world.store.create_invite(code, 1).await.expect("creates");
    world.store.create_user(new_user("alice")).await.expect("creates");
    let taken = world.store.create_user(invited("alice")).await.expect("answers");
    assert_eq!(taken, CreateUser::NameTaken);
    let first = world.store.create_user(invited("bob")).await.expect("creates");
    assert!(matches!(first, CreateUser::Created(_)), "still good");
    world.store.create_invite(code, 2).await.expect("creates");
    for name in ["carol", "alice"] {
        let second = world.store.create_user(invited(name)).await.expect("answers");
        assert_eq!(second, CreateUser::InviteInvalid, "used, and it tells nothing of names");
    }
}

/// A token names its device until the device is revoked or the user disabled.
pub async fn accounts_a_token_ends_with_its_device(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let user = world.user().await;
    let device = |token_hash, devices_max| NewDevice {
        user,
        name: "laptop".into(),
        token_hash,
        devices_max,
        now_ms: 9,
    };
    let hashes = [random_hash(), random_hash(), random_hash()];
    let mut ids = Vec::new();
    for hash in hashes {
        let made = world.store.create_device(device(hash, 3)).await.expect("creates");
        ids.push(made.expect("an active user with room"));
    }
    assert_eq!(world.store.create_device(device(random_hash(), 3)).await.expect("answers"), None);
    let owner = TokenOwner { user, device: ids[1] };
    assert_eq!(world.store.token(hashes[1]).await.expect("finds"), Some(owner.clone()));
    assert_eq!(world.store.token(random_hash()).await.expect("finds"), None);
    assert_eq!(world.store.devices(user).await.expect("lists").len(), 3);

    let ended = world.store.revoke_devices(user, Devices::AllBut(ids[1])).await.expect("revokes");
    assert_eq!(ended.len(), 2);
    assert_eq!(world.store.token(hashes[0]).await.expect("finds"), None);
    let left = world.store.devices(user).await.expect("lists");
    assert_eq!(left.iter().map(|device| device.id).collect::<Vec<_>>(), [ids[1]]);
    assert_eq!((left[0].name.as_str(), left[0].created_at_ms), ("laptop", 9));
    let nobody = world.store.revoke_devices(UserId(1), Devices::All).await.expect("revokes");
    assert!(nobody.is_empty());

    let change = UserChange { state: Some(UserState::Disabled), ..UserChange::default() };
    let ended = world.store.update_user(user, change).await.expect("updates");
    assert_eq!(ended, Some(vec![]));
    assert_eq!(world.store.token(hashes[1]).await.expect("finds"), None, "disabled");
    assert_eq!(world.store.create_device(device(random_hash(), 3)).await.expect("answers"), None);
    let change = UserChange { state: Some(UserState::Active), ..UserChange::default() };
    world.store.update_user(user, change).await.expect("updates");
    assert_eq!(world.store.token(hashes[1]).await.expect("finds"), Some(owner));
}

/// Changing a password and ending the other sessions is one act.
pub async fn accounts_a_change_ends_sessions_with_it(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let person = world.person().await;
    let other = world.device(person.user).await;
    let change = UserChange {
        display_name: Some("Alice B.".into()),
        password_hash: Some("new".into()),
        end_sessions: Some(Devices::AllBut(person.device)),
        ..UserChange::default()
    };
    let ended = world.store.update_user(person.user, change).await.expect("updates");
    assert_eq!(ended, Some(vec![other]));
    let user = world.store.user(UserKey::Id(person.user)).await.expect("finds").expect("is there");
    assert_eq!(user.password_hash.as_deref(), Some("new"));
    assert_eq!(user.display_name, "Alice B.");
    let nobody = world.store.update_user(UserId(1), UserChange::default()).await.expect("answers");
    assert_eq!(nobody, None);
}

/// A removed user is gone for everybody, but the name and the messages stay.
pub async fn accounts_a_removed_user_leaves_the_messages(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world.commit(vec![alice.send(1, conversation, "bye")]).await;
    let head = world.head(bob.user).await;
    let removed = world.store.remove_user(alice.user, world.now()).await.expect("removes");
    let removed = removed.expect("there was one");
    assert_eq!(removed.devices, [alice.device]);
    assert_eq!(removed.entries.len(), 1);
    assert_eq!((removed.entries[0].user, removed.entries[0].seq), (bob.user, head + 1));
    assert!(world.store.remove_user(alice.user, 1).await.expect("answers").is_none());

    let user = world.store.user(UserKey::Id(alice.user)).await.expect("finds").expect("a row");
    assert_eq!((user.state, user.password_hash), (UserState::Removed, None));
    let reserved = world.store.create_user(new_user(&user.name)).await.expect("answers");
    assert_eq!(reserved, CreateUser::NameTaken);
    let view = &world.store.conversations(bob.user).await.expect("lists")[0];
    assert_eq!((view.open, view.head), (false, 1));
    let request = world.relate(bob.user, crate::RelationAction::Request, alice.user).await;
    assert!(matches!(request, crate::RelationOutcome::Refused(anser_proto::Code::NotFound)));
}

/// The first claim of the key check stands; the epoch is 32 hex digits.
pub async fn meta_the_first_key_check_stands(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let meta = world.store.meta().await.expect("meta");
    let hex = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
    assert!(meta.epoch.len() == 32 && meta.epoch.chars().all(hex), "{}", meta.epoch);
    assert_eq!(meta.key_check, None);
    assert_eq!(world.store.claim_key_check(vec![1, 2]).await.expect("claims"), [1, 2]);
    assert_eq!(world.store.claim_key_check(vec![3]).await.expect("claims"), [1, 2]);
    world.reopen(factory).await;
    assert_eq!(world.store.meta().await.expect("meta").key_check, Some(vec![1, 2]));
}
