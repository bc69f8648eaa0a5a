//! Switches that break Anser on purpose, so that each promise test can be seen red (`make faults`).
//!
//! They exist only with the cargo feature `faults`; without it [`Fault::is_on`] is constant `false`
//! and nothing of them is left in the binary.

/// A fault that can be planted. `ANSER_FAULT=<name>` switches one on for the whole process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The command is acked before its batch is committed.
    AckBeforeCommit,
    /// The batch is committed without a sync.
    SkipSync,
    /// Rows are shown and pushed before they are synced.
    ShowBeforeSync,
    /// Inbox numbers are allocated outside the batch that inserts the rows.
    NumberOutsideBatch,
    /// A repeated command is applied again.
    NoDedup,
    /// A command above a gap is applied.
    ApplyOverGap,
    /// Doorbells are dropped and nothing sweeps.
    ForgetDoorbell,
    /// An offline entry is consumed by the first device that reads it.
    ConsumeOnRead,
    /// A message is also delivered to somebody outside the conversation.
    DeliverAcross,
    /// `delivered` moves when an entry is pushed, not when it is acked.
    ReceiptWithoutAck,
    /// The device's stored position moves when an entry is pushed.
    CursorMovedByPush,
    /// The client forgets a command at the ack, before it stored the entry that names it.
    TrimAtAck,
    /// Live entries overtake the old ones after a reconnect.
    LiveBeforeOld,
    /// A rejected command leaves no entry.
    SilentReject,
    /// A full buffer drops instead of waiting.
    DropWhenFull,
    /// The sender is taken from the command's conversation check only: strangers may write.
    NoMemberCheck,
    /// The client takes what the server has under its numbers for its own commands.
    TrustOldCopy,
    /// A message is stamped with another member as its sender.
    ForgeSender,
    /// A download ends after its first bytes, and the client takes them for the whole file.
    CutDownload,
    /// A message does not bring its files with it: they stay its sender's alone.
    ForgetReference,
    /// Everybody who knows a file's id gets it.
    FileToAnybody,
}

#[cfg(feature = "faults")]
impl Fault {
    /// All of them, with the name that `ANSER_FAULT` takes.
    pub const ALL: &[(Self, &str)] = &[
        (Self::AckBeforeCommit, "ack_before_commit"),
        (Self::SkipSync, "skip_sync"),
        (Self::ShowBeforeSync, "show_before_sync"),
        (Self::NumberOutsideBatch, "number_outside_batch"),
        (Self::NoDedup, "no_dedup"),
        (Self::ApplyOverGap, "apply_over_gap"),
        (Self::ForgetDoorbell, "forget_doorbell"),
        (Self::ConsumeOnRead, "consume_on_read"),
        (Self::DeliverAcross, "deliver_across"),
        (Self::ReceiptWithoutAck, "receipt_without_ack"),
        (Self::CursorMovedByPush, "cursor_moved_by_push"),
        (Self::TrimAtAck, "trim_at_ack"),
        (Self::LiveBeforeOld, "live_before_old"),
        (Self::SilentReject, "silent_reject"),
        (Self::DropWhenFull, "drop_when_full"),
        (Self::NoMemberCheck, "no_member_check"),
        (Self::TrustOldCopy, "trust_old_copy"),
        (Self::ForgeSender, "forge_sender"),
        (Self::CutDownload, "cut_download"),
        (Self::ForgetReference, "forget_reference"),
        (Self::FileToAnybody, "file_to_anybody"),
    ];

    /// Whether this process was started with the fault.
    #[expect(clippy::disallowed_methods, reason = "exists in fault-injection builds only")]
    pub fn is_on(self) -> bool {
        static ON: std::sync::OnceLock<Option<Fault>> = std::sync::OnceLock::new();
        let on = ON.get_or_init(|| {
            let name = std::env::var("ANSER_FAULT").ok()?;
            let found = Self::ALL.iter().find(|(_, known)| *known == name);
            Some(found.unwrap_or_else(|| panic!("ANSER_FAULT={name} is no fault")).0)
        });
        *on == Some(self)
    }
}

#[cfg(not(feature = "faults"))]
impl Fault {
    /// Never.
    #[inline(always)]
    pub const fn is_on(self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #[cfg(not(feature = "faults"))]
    #[test]
    fn no_fault_is_on_without_the_feature() {
        const { assert!(!super::Fault::SkipSync.is_on()) }
    }

    #[cfg(feature = "faults")]
    #[test]
    fn names_are_unique() {
        let names: std::collections::HashSet<_> =
            super::Fault::ALL.iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), super::Fault::ALL.len());
    }
}
