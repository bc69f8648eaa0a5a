//! Sends one text to a friend and waits until it is safe at the server.
//!
//! `cargo run -p anser-client --example send -- \
//!     http://127.0.0.1:7401 alice 'a good password' bob hello`

use anser_client::{Client, FileStorage, Password, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [server, name, password, to, text] = &args[..] else {
        eprintln!("usage: send SERVER NAME PASSWORD TO TEXT");
        std::process::exit(2);
    };
    let (client, _events) = Client::builder(server)
        .storage(FileStorage::open(format!("{name}.redb"))?)
        .open(Password::new(name, password, "send example"))
        .await?;
    let friend = client.find_user(to).await?;
    let Some(conversation) = client.conversation_with(friend.id) else {
        client.befriend(friend.id).await?;
        eprintln!("{to} was asked to become a friend; send again when they accepted");
        std::process::exit(1);
    };
    // From here on the message is in the file: if this program ends now, the next run sends it.
    let handle = client.send(conversation, text)?;
    match handle.sent().await.failure() {
        None => println!("sent"),
        Some(failure) => {
            eprintln!("{}", failure.reason);
            std::process::exit(1);
        }
    }
    client.shutdown().await;
    Ok(())
}
