//! A sweep: the same questions, answered at several values of w and by what they are compared with.
//!
//! A [`SweepSpec`] is every choice, [`Sweep::open`] reads what it names, [`Sweep::run`] asks an engine for what the log does
//! not have yet, and [`Sweep::table`] says what the answers come to. Grades are worked out from the log each time: another
//! grader, or another split, asks for no new answer.

mod arm;
mod compare;
mod error;
mod imported;
mod judged;
mod open;
mod run;
mod spec;
mod table;

pub use arm::{Arm, ArmModel};
pub use compare::{Against, Chosen, Test};
pub use error::SweepError;
pub use judged::ArmKeys;
pub use open::{Asked, Sweep};
pub use run::{SweepEvent, SweepProgress};
pub use spec::{
    ChoiceScoring, ControlArm, ControlsAt, ExamplesSpec, PerturbationSpec, PromptArm, SplitSpec, SweepSpec,
};
pub use table::{ArmResult, GradedSample, Languages, SweepTable};
