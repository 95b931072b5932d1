//! What circles are made of, and how requests describe it.

mod circle;
mod context;
mod member;
mod metrics;
mod task;
mod task_move;
mod task_state;

pub use circle::{Circle, CircleDraft, CircleOverview, CirclePatch, CircleProfile, CircleReceipt};
pub use context::{Activity, Context, ContextCircle, ContextMemories, ContextTasks};
pub use member::{MOST_CIRCLES, MOST_MEMBERS, Member, MemberDraft, NewMember, NewMembers};
pub use metrics::{CircleMetrics, Conflicts, SharedByKind, SharedMetrics, TaskMetrics, TimeToDone, Window};
pub use task::{Priority, Task, TaskCounts, TaskFields, TaskPatch, TaskPosition, TaskQuery};
pub use task_move::{NotedStep, Rejection, Submission, TaskMove, TaskNote};
pub use task_state::{Standing, Step, TaskState};
