//! Serves [`anser_server::connector::echo`] on a free port of this machine, whose address it
//! prints.

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    anser_server::connector::echo::run(listener).await
}
