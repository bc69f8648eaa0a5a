//! Both engines, the same plan.

use super::Database;
use crate::contract::{fresh_seed, random_operations};
use crate::embedded::tests::Folder;

/// Each is compared with the same model, after each operation.
#[tokio::test]
async fn a_plan_has_equal_results_in_both_engines() {
    let Some(database) = Database::new() else { return };
    let seed = fresh_seed();
    random_operations(&Folder::new(), seed).await;
    random_operations(&database, seed).await;
}
