//! What keys do on the full screen.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Ask, View};

impl View {
    /// A key was pressed.
    pub(in crate::chat) fn handle_key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.handle_control(key.code);
        }
        let with_alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Enter if with_alt => self.input.insert("\n"),
            KeyCode::Enter => {
                let line = self.input.take();
                self.handle_line(&line);
            }
            KeyCode::Char('b') if with_alt => self.input.word_left(),
            KeyCode::Char('f') if with_alt => self.input.word_right(),
            KeyCode::Backspace if with_alt => self.input.delete_word(),
            KeyCode::Char(c) => self.input.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace => self.input.backspace(),
            KeyCode::Delete => self.input.delete(),
            KeyCode::Left => self.input.left(),
            KeyCode::Right => self.input.right(),
            KeyCode::Home => self.input.home(),
            KeyCode::End => self.input.end(),
            KeyCode::Tab | KeyCode::Down => self.step(true),
            KeyCode::BackTab | KeyCode::Up => self.step(false),
            KeyCode::PageUp => self.page_up(),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_sub(self.page_step()),
            KeyCode::Esc => self.notices.clear(),
            _ => {}
        }
    }

    /// A text was pasted.
    pub(in crate::chat) fn handle_paste(&mut self, text: &str) {
        self.input.insert(text);
    }

    fn handle_control(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('c' | 'd') => self.asks.push(Ask::Quit),
            KeyCode::Char('n') => self.step(true),
            KeyCode::Char('p') => self.step(false),
            KeyCode::Char('a') => self.input.home(),
            KeyCode::Char('e') => self.input.end(),
            KeyCode::Char('b') => self.input.left(),
            KeyCode::Char('f') => self.input.right(),
            KeyCode::Char('h') => self.input.backspace(),
            KeyCode::Char('w') => self.input.delete_word(),
            KeyCode::Char('u') => self.input.delete_to_start(),
            KeyCode::Char('k') => self.input.delete_to_end(),
            KeyCode::Left => self.input.word_left(),
            KeyCode::Right => self.input.word_right(),
            _ => {}
        }
    }

    fn page_up(&mut self) {
        self.scroll += self.page_step();
        let (_, is_at_top) = self.page;
        if is_at_top {
            self.fetch_older();
        }
    }

    /// A row of what was seen stays in sight.
    fn page_step(&self) -> usize {
        self.page.0.saturating_sub(1).max(1)
    }
}
