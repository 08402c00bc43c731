//! The pages of `docs/use/`: what they tell people to paste is run as written, against the real programs.
//!
//! A page has files and commands. **A file** is a fenced block whose first line is a comment that names it
//! (`# /etc/nginx/conf.d/app.conf`, `// main.go`, `-- roles.sql`); `# add to PATH` adds the lines to a file that is
//! there already. **Commands** are in blocks of `sh`. Any other block, and any that a test can't run, has a reason in
//! [`account`]. A test gets its page from [`account::whole`], which demands that every block was run.
//!
//! [`harness::stage`] is the machine: `/etc`, `/run`, `/var`, `/srv` and `/opt` are folders of a temporary one, and `systemctl`
//! is a stand-in that starts, reloads and restarts the real programs as [`harness::unit`] has them. [`harness::machine`] is
//! one behind whose proxy an application waits. [`harness::cast`] is who knocks, [`harness::entrance`] what comes of it.

mod account;
mod caddy;
mod curl;
mod envoy;
mod go;
mod haproxy;
mod harness;
mod java;
mod more;
mod nginx;
mod postgresql;
mod python;
mod renewal;
mod rust;
