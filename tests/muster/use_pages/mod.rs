//! The pages of `docs/use/`: what they tell people to paste is run as written, against the real programs.
//!
//! A page has files and commands. **A file** is a fenced block whose first line is a comment that names it
//! (`# /etc/nginx/conf.d/app.conf`, `// main.go`, `-- roles.sql`); `# add to PATH` adds the lines to a file that is
//! there already. **Commands** are in blocks of `sh`. Any other block, and any that a test can't run, has a reason in
//! [`account`]. A test gets its page from [`account::whole`], which demands that every block was run.
//!
//! [`stage`] is the machine, [`machine`] one behind whose proxy an application waits: `/etc`, `/run`, `/var`, `/srv` and `/opt` are folders of a temporary one, `systemctl` is a
//! stand-in that starts, reloads and restarts the real programs as [`unit`] has them. [`cast`] is who knocks.

pub mod account;
pub mod attack;
pub mod backend;
pub mod beside;
pub mod caddy;
pub mod cast;
pub mod curl;
pub mod door;
pub mod entrance;
pub mod envoy;
pub mod haproxy;
pub mod machine;
pub mod nginx;
pub mod outputs;
pub mod page;
pub mod postgresql;
pub mod renewal;
pub mod stage;
pub mod unit;
