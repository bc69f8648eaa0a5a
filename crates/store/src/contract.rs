//! The contract of [`Store`](crate::Store) as tests: every engine runs all of them.
//!
//! Each test is a function that takes a [`Factory`] and panics when a promise is broken; its name
//! begins with the number of the promise of docs/guarantees.md, if it is one of those.
//! [`contract!`](crate::contract!) makes one `#[tokio::test]` of each. Nothing here knows an
//! engine.

mod accounts;
mod files;
mod members;
mod p1_safe;
mod p2_once;
mod p3_holes;
mod p5_resume;
mod p7_receipts;
mod p8_members;
mod random;
mod relations;
mod world;

pub use accounts::*;
pub use files::*;
pub use members::*;
pub use p1_safe::*;
pub use p2_once::*;
#[cfg(test)]
pub(crate) use p2_once::{by, greet};
pub use p3_holes::*;
pub use p5_resume::*;
pub use p7_receipts::*;
pub use p8_members::*;
pub use random::*;
pub use relations::*;
pub use world::*;

use p7_receipts::receipt;

/// Makes a test of every promise for the factory that the expression gives; `None` leaves the test
/// out, and the expression has said so.
#[macro_export]
macro_rules! contract {
    ($factory:expr) => {
        $crate::contract!(@each $factory;
            p1_sent_means_safe_in_every_inbox
            p1_what_was_acked_is_there_after_a_restart
            p2_a_repeat_has_no_second_result
            p2_a_rejected_command_stays_rejected
            p2_another_payload_is_a_conflict
            p2_what_can_not_be_compared_is_stale
            p2_nothing_is_applied_over_a_gap
            p2_the_last_command_is_told_with_its_digest
            p2_an_older_session_moves_nothing
            p2_nothing_of_a_session_follows_a_refusal
            p2_a_once_key_has_one_result
            p3_refusals_leave_no_holes
            p3_pruning_raises_the_floor_and_keeps_the_head
            p3_pruning_passes_long_rows_of_receipts
            p3_a_number_is_never_used_again
            p4_a_device_keeps_its_order
            p5_a_known_position_is_welcome
            p5_what_can_not_go_on_is_reset
            p5_a_reset_skips_forgotten_commands
            p5_a_rolled_back_device_is_stale
            p5_a_sweep_tells_what_doorbells_may_have_lost
            p5_pages_are_contiguous_and_bounded
            p6_a_read_consumes_nothing
            p7_an_ack_is_a_receipt
            p7_marks_stay_below_the_head
            p7_a_batch_leaves_one_receipt
            p7_read_moves_delivered_and_tells_the_own_devices
            p7_no_receipts_where_there_is_no_friendship
            p8_a_stranger_stays_outside
            p8_a_device_speaks_for_its_user
            p8_closed_is_closed_for_both
            p10_every_rejection_is_told
            p10_garbage_consumes_nothing
            members_all_get_the_message
            members_are_told_of_each_reader
            numbers_that_are_none_are_not_stored
            numbers_end_where_a_double_does
            accounts_names_are_unique
            accounts_an_invitation_is_consumed_once
            accounts_a_token_ends_with_its_device
            accounts_a_change_ends_sessions_with_it
            accounts_a_removed_user_leaves_the_messages
            meta_the_first_key_check_stands
            files_a_message_lists_whole_files_of_its_own
            files_a_list_is_bounded_and_all_or_nothing
            files_are_seen_by_members_once_a_message_names_them
            files_stay_named_after_a_crash
            files_are_made_by_members_within_their_room
            files_nobody_names_end_and_are_forgotten
            relations_friends_again_are_in_the_same_conversation
            relations_a_request_can_be_declined_or_withdrawn
            relations_a_block_is_not_seen
            relations_a_blocked_stranger_sees_nothing
            relations_are_bounded
            snapshot_is_everything_at_its_head
            history_pages_say_what_is_beside_them
        );

        #[tokio::test]
        async fn random_operations_do_what_the_model_does() {
            let seeds = $crate::contract::REGRESSION_SEEDS.iter().copied();
            let seeds = seeds.chain($crate::contract::SEEDS);
            for seed in seeds.chain([$crate::contract::fresh_seed()]) {
                let Some(factory) = $factory else { return };
                $crate::contract::random_operations(&factory, seed).await;
            }
        }
    };
    (@each $factory:expr; $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let Some(factory) = $factory else { return };
                $crate::contract::$name(&factory).await;
            }
        )*
    };
}
