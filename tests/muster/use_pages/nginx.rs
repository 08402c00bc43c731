//! `docs/use/nginx.md`.

use super::account::whole;
use super::harness::backend::Backend;
use super::harness::cast::Cast;
use super::harness::machine::Machine;
use super::harness::unit::{Reload, Unit};

/// For a moment workers of before and after listen side by side; a test wants to meet those of after.
const RELOAD: &str = r#"master=$(cat PID)
before=$(cat /proc/$master/task/$master/children)
kill -HUP "$master"
for worker in $before; do
    tries=0
    while [ -e /proc/$worker ] && ! grep -q 'shutting down' /proc/$worker/cmdline && [ $tries -lt 1000 ]; do
        tries=$((tries + 1))
        sleep 0.01
    done
done"#;

/// nginx with nothing to serve, as a distribution sets it up.
pub fn is_there(Machine { stage, door, .. }: &Machine) {
    stage.say("listen 443 ssl;", format!("listen 127.0.0.1:{} ssl;", door.port));
    stage.say("https://app.example.org;", format!("https://127.0.0.1:{};", door.port));
    stage.say("proxy_ssl_name muster.example.org;", "proxy_ssl_name localhost;");
    // As root it would give its workers away to a user who can't enter the test's folders.
    let config = "user root;\npid /run/nginx.pid;\ninclude /etc/nginx/modules-enabled/*.conf;\nevents {}\nhttp {\n    \
        access_log off;\n    client_body_temp_path /var/lib/nginx/body;\n    proxy_temp_path /var/lib/nginx/proxy;\n    \
        fastcgi_temp_path /var/lib/nginx/fastcgi;\n    uwsgi_temp_path /var/lib/nginx/uwsgi;\n    \
        scgi_temp_path /var/lib/nginx/scgi;\n    include /etc/nginx/conf.d/*.conf;\n}\n";
    let config = stage.write("/etc/nginx/nginx.conf", &stage.adapt(config));
    for dir in ["/etc/nginx/conf.d", "/etc/nginx/modules-enabled", "/var/lib/nginx"] {
        std::fs::create_dir_all(stage.path(dir)).unwrap();
    }
    let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
    let program =
        program.into_iter().find(|program| std::path::Path::new(program).exists()).unwrap_or("nginx");
    stage.stand_in("nginx", &format!("exec {program} -e stderr -c {} \"$@\"", config.display()));
    let start =
        stage.template(program, &["-e", "stderr", "-g", "daemon off;", "-c", config.to_str().unwrap()]);
    let pid = stage.path("/run/nginx.pid");
    let reload = stage.template("sh", &["-c", &RELOAD.replace("PID", pid.to_str().unwrap())]);
    stage.units.add("nginx", Unit::new(Reload::Run(Box::new(reload)), start).ready(move || pid.exists()));
    tokio::task::block_in_place(|| stage.units.obey("start nginx")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_as_its_page_sets_it_up() {
    whole("nginx", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let asking = Machine::new(&cast, &backend).await;
        is_there(&asking);
        asking.play(page, &["Ask the agent"]);
        asking.lets_in_live_agents_alone(&cast, &backend).await;
        asking.asks_about_each_request(&cast).await;
        asking.stage.write("/etc/muster/server-ca.pem", &cast.server.server_ca());
        asking.play(page, &["Where there is no agent"]);
        asking.stage.units.obey("stop muster-agent").unwrap();
        asking.lets_in_live_agents_alone(&cast, &backend).await;

        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["By files"]);
        machine.lets_in_live_agents_alone(&cast, &backend).await;
        machine.play(page, &["Call as this agent"]);
        machine.calls_as_the_agent().await;
        let mut standing = machine.door.caller(&cast.later).connect().await.unwrap();
        assert!(standing.ask(&[]).await.is_let_in());
        machine.takes_in_lists(&cast, page).await;
        standing.comes_to_an_end().await;
    })
    .await;
}
