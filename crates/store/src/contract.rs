//! The contract of [`Store`](crate::Store) as tests: every engine runs all of them.
//!
//! Each test is a function that takes a [`Factory`] and panics when a promise is broken; its name
//! begins with the number of the promise in DESIGN section 3. [`contract!`](crate::contract) makes
//! one `#[tokio::test]` of each. Nothing here knows an engine.

mod p1_safe;
mod world;

pub use p1_safe::*;
pub use world::*;

/// Makes a test of every promise for the factory that the expression gives.
#[macro_export]
macro_rules! contract {
    ($factory:expr) => {
        $crate::contract!(@each $factory;
            p1_sent_means_safe_in_every_inbox
            p1_what_was_acked_is_there_after_a_restart
        );
    };
    (@each $factory:expr; $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::contract::$name(&$factory).await;
            }
        )*
    };
}
