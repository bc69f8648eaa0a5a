//! The one binary.
mod bench;
use clap::Parser;
#[derive(Parser)]
enum Cli { Bench(bench::Options), Serve { #[arg(long)] data_dir: std::path::PathBuf, #[arg(long)] connector_listen: String, #[arg(long)] api_listen: String, #[arg(long)] ops_listen: String } }
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse() {
        Cli::Bench(options) => { if !bench::run(&options).await? { std::process::exit(1) } }
        Cli::Serve { data_dir, .. } => {
            let mut config = anser_server::config::Config::default();
            std::fs::create_dir_all(&data_dir)?;
            config.node.data_dir = data_dir;
            config.connector.listen.set_port(0); config.api.listen.set_port(0); config.ops.listen.set_port(0);
            config.connector.commands_per_second = 1_000_000; config.connector.commands_burst = 1_000_000; config.connector.unauthenticated_per_address = 20000;
            let secrets = anser_server::secrets::Secrets { master_key: anser_server::secrets::MasterKey::new([7;32]), server_api_key: "x".into() };
            let node = anser_server::node::Node::bind(config, secrets).await?;
            let a = node.addresses().clone();
            println!("connector {}\napi http://{}\nadmin {}\nready", a.connector, a.api, a.admin.display());
            let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            node.run(async move { term.recv().await; }).await?;
        }
    }
    Ok(())
}
