//! What circles are made of, and how requests describe it.

mod circle;
mod task;
mod task_move;
mod task_state;

pub use circle::{Circle, CircleDraft, CirclePatch, CircleProfile, CircleReceipt};
pub use task::{Priority, Task, TaskCounts, TaskFields, TaskPatch, TaskPosition, TaskQuery};
pub use task_move::{NotedStep, Rejection, Submission, TaskMove, TaskNote};
pub use task_state::{Standing, Step, TaskState};
