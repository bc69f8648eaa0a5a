//! Prints the last messages of all conversations, then everything that comes.
//!
//! `cargo run -p anser-client --example tail -- http://127.0.0.1:7401 alice 'a good password'`

use anser_client::{Client, Content, Event, FileStorage, Message, Password, Result};

/// Older messages to print for each conversation.
const OLDER: usize = 10;

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(server), Some(name), Some(password)) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: tail SERVER NAME PASSWORD");
        std::process::exit(2);
    };
    let (client, mut events) = Client::builder(server)
        .storage(FileStorage::open(format!("{name}.redb"))?)
        .open(Password::new(name, password, "tail example"))
        .await?;
    for relation in client.relations() {
        println!("-- {} ({:?})", relation.peer_name, relation.state);
        client.messages(relation.id, None, OLDER)?.iter().for_each(print);
    }
    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) => print(&message),
            Event::Receipt { user, delivered, read, .. } => {
                println!("-- {user} has received up to {delivered} and read up to {read}");
            }
            Event::State(state) => println!("-- {state:?}"),
            Event::CaughtUp => println!("-- everything from here on is live"),
            Event::Lagged { missed } => println!("-- {missed} events were not read in time"),
            Event::Closed { code } => println!("-- the client ended: {code:?}"),
            _ => {}
        }
    }
    Ok(())
}

fn print(message: &Message) {
    let text = match &message.content {
        Content::Text(text) => text.clone(),
        other => format!("[{other:?}]"),
    };
    println!("{} {} {}: {text}", message.conversation, message.conv_seq, message.sender);
}
