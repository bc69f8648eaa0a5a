//! Plans: what to do, in terms that fit any state. User 7 is the seventh, counted round and round.

use anser_proto::id::NUMBER_MAX;

use crate::RelationAction;

/// One operation.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    AddUser,
    AddDevice { user: usize, devices_max: usize },
    Commit(Vec<Item>),
    Relate { actor: usize, peer: usize, action: RelationAction, relations_max: usize },
    Greet { device: usize, known_epoch: bool, position: Spot, outbox: Outbox },
    Revoke { device: usize, others: bool },
    SetActive { user: usize, active: bool },
    RemoveUser { user: usize },
    Prune { ticks: u64, rows_max: usize },
    Files(Files),
    Tick,
    Reopen,
    Crash,
}

/// What is done to files beside messages.
#[derive(Clone, Debug)]
pub(super) enum Files {
    Create { owner: usize, place: Place, size: u64 },
    Advance { file: usize, is_whole: bool },
    End { file: usize, by: usize, by_owner: bool },
    Expire { incomplete_ticks: u64, complete_ticks: u64, files_max: usize },
    Forget { files: Vec<usize> },
}

/// A file that a message lists: one of its sender for the conversation, anybody's, or none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pick {
    Own(usize),
    Any(usize),
    Nothing(u64),
}

/// One record of a batch.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Command {
        device: usize,
        /// Say that another user sent it.
        forged: Option<usize>,
        number: Number,
        what: What,
        once: Option<u8>,
    },
    Ack {
        device: usize,
        position: Spot,
        store: bool,
        /// A watermark that the device was never pushed.
        wild: Option<(Place, u64)>,
    },
}

/// A command's number, seen from the device's position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Next,
    Gap(u64),
    /// So many before the position, with what was sent then.
    Repeat(u64),
    /// So many before the position, with something else.
    Other(u64),
    Exactly(u64),
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Send { place: Place, key_version: u32, body: Body, files: Vec<Pick> },
    Read { place: Place, conv_seq: Spot },
    Unknown,
    Garbage,
}

/// A conversation: the user's own, anybody's, or one that does not exist.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Own(usize),
    Any(usize),
    Nowhere(u64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    Empty,
    Short(u64),
    TooLong,
}

/// A number relative to a head.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot {
    /// Per cent of it.
    Part(u64),
    Above(u64),
}

/// What a Hello says of the outbox, relative to the position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outbox {
    Even,
    Behind,
    Forgot(u64),
}

/// Dice that always fall the same way for a seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        // Spread small seeds; xorshift must not begin at 0.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits of a plain xorshift are poor.
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    fn index(&mut self) -> usize {
        usize::try_from(self.below(1 << 16)).expect("16 bits")
    }

    /// True so many times in a hundred.
    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}

/// The plan of a seed.
pub(super) fn plan(seed: u64) -> Vec<Operation> {
    let mut dice = Dice::new(seed);
    let mut plan = Vec::with_capacity(OPERATIONS + 2 * USERS_FIRST);
    for user in 0..USERS_FIRST {
        plan.push(Operation::AddUser);
        plan.push(Operation::AddDevice { user, devices_max: 9 });
    }
    for user in 1..USERS_FIRST {
        let action = RelationAction::Befriend;
        plan.push(Operation::Relate { actor: 0, peer: user, action, relations_max: 9 });
    }
    plan.extend((0..OPERATIONS).map(|_| operation(&mut dice)));
    with_files(plan, &mut Dice::new(seed ^ FILES))
}

/// Files in a plan, by dice of their own: a seed that failed before there were any still makes the
/// same operations.
fn with_files(plan: Vec<Operation>, dice: &mut Dice) -> Vec<Operation> {
    let mut with = Vec::with_capacity(2 * plan.len());
    for (number, mut operation) in plan.into_iter().enumerate() {
        if let Operation::Commit(items) = &mut operation {
            for item in items {
                if let Item::Command { what: What::Send { files, .. }, .. } = item {
                    *files = picks(dice);
                }
            }
        }
        with.push(operation);
        if number >= 3 * USERS_FIRST && dice.percent(60) {
            with.push(Operation::Files(files(dice)));
        }
    }
    with
}

/// Mostly none.
fn picks(dice: &mut Dice) -> Vec<Pick> {
    let count = match dice.below(100) {
        0..60 => 0,
        60..90 => 1,
        90..98 => 2,
        98 => 16,
        _ => 17,
    };
    let pick = |dice: &mut Dice| match dice.below(20) {
        0 => Pick::Any(dice.index()),
        1 => Pick::Nothing([0, NUMBER_MAX, u64::MAX][dice.index() % 3]),
        _ => Pick::Own(dice.index()),
    };
    (0..count).map(|_| pick(dice)).collect()
}

fn files(dice: &mut Dice) -> Files {
    let file = dice.index();
    match dice.below(100) {
        0..45 => {
            let sizes = [0, 1, 100, 1_000, 3_000, u64::MAX];
            let size = sizes[dice.index() % sizes.len()];
            Files::Create { owner: dice.index(), place: place(dice), size }
        }
        45..75 => Files::Advance { file, is_whole: dice.percent(80) },
        75..85 => Files::End { file, by: dice.index(), by_owner: dice.percent(70) },
        85..93 => Files::Expire {
            incomplete_ticks: dice.below(4),
            complete_ticks: dice.below(12),
            files_max: 1 + dice.index() % 8,
        },
        _ => Files::Forget { files: (0..1 + dice.below(20)).map(|_| dice.index()).collect() },
    }
}

fn operation(dice: &mut Dice) -> Operation {
    match dice.below(1000) {
        0..600 => {
            let most = if dice.percent(10) { 90 } else { 8 };
            let count = 1 + dice.below(most);
            Operation::Commit((0..count).map(|_| item(dice)).collect())
        }
        600..760 => relate(dice),
        760..840 => Operation::Greet {
            device: dice.index(),
            known_epoch: dice.percent(80),
            position: spot(dice),
            outbox: match dice.below(8) {
                0 => Outbox::Behind,
                1 => Outbox::Forgot(dice.below(5)),
                _ => Outbox::Even,
            },
        },
        840..855 => Operation::AddUser,
        855..895 => Operation::AddDevice { user: dice.index(), devices_max: 4 },
        895..910 => Operation::Revoke { device: dice.index(), others: dice.percent(50) },
        910..925 => Operation::SetActive { user: dice.index(), active: dice.percent(70) },
        925..928 => Operation::RemoveUser { user: dice.index() },
        928..960 => Operation::Tick,
        960..980 => Operation::Prune { ticks: dice.below(4), rows_max: 1 + dice.index() % 20 },
        980..990 => Operation::Reopen,
        _ => Operation::Crash,
    }
}

fn relate(dice: &mut Dice) -> Operation {
    use RelationAction as Action;
    let action = match dice.below(12) {
        0..3 => Action::Request,
        3..5 => Action::Accept,
        5 => Action::Decline,
        6 => Action::Remove,
        7 => Action::Block,
        8..10 => Action::Unblock,
        _ => Action::Befriend,
    };
    let relations_max = if dice.percent(15) { 3 } else { 100 };
    Operation::Relate { actor: dice.index(), peer: dice.index(), action, relations_max }
}

fn item(dice: &mut Dice) -> Item {
    let device = dice.index();
    if dice.percent(25) {
        let wild = dice.percent(10).then(|| (place(dice), dice.below(90)));
        return Item::Ack { device, position: spot(dice), store: dice.percent(70), wild };
    }
    let number = match dice.below(100) {
        0..78 => Number::Next,
        78..82 => Number::Gap(1 + dice.below(3)),
        82..91 => Number::Repeat(dice.below(5)),
        91..94 => Number::Other(dice.below(5)),
        // Round the end of what can be compared.
        94..97 => Number::Repeat(60 + dice.below(8)),
        97 => Number::Exactly(0),
        98 => Number::Exactly(NUMBER_MAX),
        _ => Number::Exactly(u64::MAX),
    };
    let what = match dice.below(100) {
        0..70 => What::Send {
            place: place(dice),
            key_version: match dice.below(12) {
                0 => 0,
                1 => 2,
                _ => 1,
            },
            body: match dice.below(200) {
                0..6 => Body::Empty,
                6 => Body::TooLong,
                _ => Body::Short(dice.bits()),
            },
            files: Vec::new(),
        },
        70..94 => What::Read { place: place(dice), conv_seq: spot(dice) },
        94..97 => What::Unknown,
        _ => What::Garbage,
    };
    let forged = dice.percent(3).then(|| dice.index());
    let once = dice.percent(6).then(|| u8::try_from(dice.below(40)).expect("below 40"));
    Item::Command { device, forged, number, what, once }
}

fn place(dice: &mut Dice) -> Place {
    match dice.below(20) {
        0 => Place::Any(dice.index()),
        1 => Place::Nowhere([0, 5, NUMBER_MAX, u64::MAX][dice.index() % 4]),
        _ => Place::Own(dice.index()),
    }
}

fn spot(dice: &mut Dice) -> Spot {
    match dice.below(12) {
        0 => Spot::Above(dice.below(4)),
        1 => Spot::Above(u64::MAX),
        2..5 => Spot::Part(dice.below(101)),
        _ => Spot::Part(100),
    }
}

const OPERATIONS: usize = 300;
/// Makes the dice for files other ones.
const FILES: u64 = 0x66_69_6c_65_73;
const USERS_FIRST: usize = 5;
