//! What a typed line asks for.

use anser_client::RelationAction;

/// A typed line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// A text for the shown conversation.
    Say(String),
    /// Ask somebody to become friends.
    Add(String),
    /// Change the relation with somebody.
    Change(String, RelationAction),
    /// Open the conversation with somebody.
    With(String),
    /// List the relations.
    Who,
    /// List the commands.
    Help,
    /// Leave.
    Quit,
    /// Nothing that can be done; the sentence says what to do.
    Wrong(String),
}

impl Command {
    /// Understands a line; `None`: there is nothing in it.
    pub(super) fn parse(line: &str) -> Option<Self> {
        if line.trim().is_empty() {
            return None;
        }
        let Some(command) = line.strip_prefix('/') else { return Some(Self::Say(line.into())) };
        if command.starts_with('/') {
            return Some(Self::Say(command.into()));
        }
        let mut words = command.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let name = words.next().unwrap_or_default().to_owned();
        let change = match verb {
            "who" => return Some(Self::Who),
            "help" => return Some(Self::Help),
            "quit" => return Some(Self::Quit),
            "add" | "with" => None,
            "accept" => Some(RelationAction::Accept),
            "decline" => Some(RelationAction::Decline),
            "remove" => Some(RelationAction::Remove),
            "block" => Some(RelationAction::Block),
            "unblock" => Some(RelationAction::Unblock),
            _ => {
                return Some(Self::Wrong(format!(
                    "There is no command /{verb}; /help lists them. To send a line that starts with \
                     a slash, type two: //{verb}"
                )));
            }
        };
        Some(match change {
            _ if name.is_empty() => Self::Wrong(format!("Say who: /{verb} NAME")),
            Some(action) => Self::Change(name, action),
            None if verb == "add" => Self::Add(name),
            None => Self::With(name),
        })
    }
}

/// For `/help`.
pub(super) const HELP: &[&str] = &[
    "/add NAME      ask somebody to become friends",
    "/accept NAME   take a request; /decline NAME does not",
    "/with NAME     open the conversation (also Tab, Ctrl-N, Ctrl-P, Up, Down)",
    "/remove NAME   end being friends",
    "/block NAME    no messages and requests any more; /unblock NAME",
    "/who           friends and requests",
    "/quit          leave (also Ctrl-C, Ctrl-D)",
    "PageUp, PageDown scroll; // at the start of a line sends a slash",
    "… waits here   ✓ safe at the server   ✓✓ delivered   coloured ✓✓ read   ! not sent",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn say(text: &str) -> Option<Command> {
        Some(Command::Say(text.into()))
    }

    #[test]
    fn lines_without_a_slash_are_said_as_they_are() {
        assert_eq!(Command::parse("hello"), say("hello"));
        assert_eq!(Command::parse("  two spaces "), say("  two spaces "));
        assert_eq!(Command::parse(" /add x"), say(" /add x"));
        assert_eq!(Command::parse(""), None);
        assert_eq!(Command::parse(" \t"), None);
    }

    #[test]
    fn two_slashes_send_one() {
        assert_eq!(Command::parse("//etc/passwd"), say("/etc/passwd"));
        assert_eq!(Command::parse("//"), say("/"));
        assert_eq!(Command::parse("///"), say("//"));
    }

    #[test]
    fn commands_take_a_name() {
        let change = |action| Some(Command::Change("bob".into(), action));
        assert_eq!(Command::parse("/add bob"), Some(Command::Add("bob".into())));
        assert_eq!(Command::parse("/with  bob "), Some(Command::With("bob".into())));
        assert_eq!(Command::parse("/accept bob"), change(RelationAction::Accept));
        assert_eq!(Command::parse("/decline bob"), change(RelationAction::Decline));
        assert_eq!(Command::parse("/remove bob"), change(RelationAction::Remove));
        assert_eq!(Command::parse("/block bob"), change(RelationAction::Block));
        assert_eq!(Command::parse("/unblock bob"), change(RelationAction::Unblock));
        assert_eq!(Command::parse("/add"), Some(Command::Wrong("Say who: /add NAME".into())));
    }

    #[test]
    fn commands_without_a_name() {
        assert_eq!(Command::parse("/who"), Some(Command::Who));
        assert_eq!(Command::parse("/help"), Some(Command::Help));
        assert_eq!(Command::parse("/quit"), Some(Command::Quit));
    }

    #[test]
    fn a_mistyped_command_is_never_sent() {
        for line in ["/", "/ad bob", "/addbob", "/ add bob", "/who,"] {
            let understood = Command::parse(line);
            assert!(
                matches!(understood, Some(Command::Wrong(_) | Command::Add(_))),
                "{line}: {understood:?}"
            );
        }
        assert!(
            matches!(Command::parse("/ad bob"), Some(Command::Wrong(text)) if text.contains("//ad"))
        );
    }
}
