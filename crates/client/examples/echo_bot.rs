//! A bot that makes friends with whoever asks, and says everything back.
//!
//! `cargo run -p anser-client --example echo_bot -- http://127.0.0.1:7401 echo 'a good password'`

use anser_client::{
    Client, Content, Event, FileStorage, Password, RelationAction, RelationState, Result,
};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(server), Some(name), Some(password)) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: echo_bot SERVER NAME PASSWORD");
        std::process::exit(2);
    };
    // The file is the bot's memory: after a restart it goes on after the last message that it
    // stored.
    let (client, mut events) = Client::builder(server)
        .storage(FileStorage::open(format!("{name}.redb"))?)
        .open(Password::new(name, password, "echo bot").or_register())
        .await?;
    for relation in client.relations() {
        if relation.state == RelationState::Incoming {
            client.change_relation(relation.peer, RelationAction::Accept).await?;
        }
    }
    while let Some(event) = events.next().await {
        match event {
            Event::Relation(relation) if relation.state == RelationState::Incoming => {
                client.change_relation(relation.peer, RelationAction::Accept).await?;
                println!("{} is a friend now", relation.peer_name);
            }
            // The bot's own messages come too: an echo of an echo would never end.
            Event::Message(message) if message.sender != client.user() => {
                client.mark_read(message.conversation, message.conv_seq)?;
                if let Content::Text(text) = message.content {
                    client.send(message.conversation, text)?;
                }
            }
            Event::Closed { code } => println!("the client ended: {code:?}"),
            _ => {}
        }
    }
    Ok(())
}
