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
    /// Send the file at this path to the shown conversation.
    File(String),
    /// Save the newest file of the shown conversation, or the newest one of this name.
    Save(String),
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
        // Paths and names of files can have spaces in them.
        let rest = command.get(verb.len()..).unwrap_or_default().trim().to_owned();
        let change = match verb {
            "file" if rest.is_empty() => {
                return Some(Self::Wrong("Say which file: /file PATH".into()));
            }
            "file" => return Some(Self::File(rest)),
            "save" => return Some(Self::Save(rest)),
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
                    "There is no command /{verb}; /help lists them. To send a line that starts \
                     with a slash, type two: //{verb}"
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
    "/add NAME     ask somebody to become friends",
    "/accept NAME  take a request; /decline NAME does not",
    "/with NAME    open a conversation (also Tab, Up, Down)",
    "/file PATH    send a file; /save [NAME] saves the newest",
    "/remove NAME  end being friends",
    "/block NAME   no requests and messages; /unblock NAME",
    "/who          friends and requests",
    "/quit         leave (also Ctrl-C, Ctrl-D)",
    "//text        a text that starts with a slash",
    "PageUp and PageDown scroll, Alt-Enter breaks the line",
    "… waits   ✓ safe   ✓✓ delivered, coloured: read   ! not sent",
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
    fn files_have_names_with_spaces() {
        let file = |path: &str| Some(Command::File(path.into()));
        assert_eq!(Command::parse("/file my photo.png"), file("my photo.png"));
        assert_eq!(Command::parse("/file  ~/x "), file("~/x"));
        assert_eq!(
            Command::parse("/file"),
            Some(Command::Wrong("Say which file: /file PATH".into()))
        );
        assert_eq!(Command::parse("/save"), Some(Command::Save(String::new())));
        assert_eq!(Command::parse("/save a b"), Some(Command::Save("a b".into())));
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
