//! Vouching by the server: a certificate is a live agent's of the tenant asked for, or 403 says why not; proxies pass it on
//! in one header, and whatever else a client sends lets nobody in.

use data_encoding::{BASE64, HEXLOWER};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::support::client::Client;
use crate::support::fleet::named_host;
use crate::support::hierarchy::Hierarchy;
use crate::support::http::Answer;
use crate::support::identity::Identity;
use crate::support::keys::Key;
use crate::support::server::Server;
use crate::support::wait::until_answered;

const HEADER: &str = "X-Client-Cert";

fn encoded(pem: &str) -> String {
    utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
}

async fn ask(client: &Client, certificate: &str) -> Answer {
    client.post("/v1/vouch", &json!({ "certificate": certificate })).await
}

async fn forward(client: &Client, query: &str, headers: &[(&str, &str)]) -> Answer {
    let client = headers.iter().fold(client.clone(), |client, (name, value)| client.with(name, value));
    client.get(&format!("/v1/forward-auth{query}")).await
}

/// A relying party with an API token, for the tenant of a name or for all.
fn relying_party(server: &Server, tenant: Option<&str>) -> Client {
    Client::bearer(server, &server.api_token(&["agent.vouch"], tenant))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_agent_is_vouched_for_in_every_form() {
    let server = Server::quickstart();
    let agent = Identity::enroll(&server, "web-1").await;
    let door = relying_party(&server, None);
    let pem = agent.field("certificate");
    let der = BASE64.encode(&agent.chain_der()[0]);
    let xfcc = format!("By=spiffe://x;Hash=00;Cert=\"{}\",Hash=ab;Cert=\"{}\"", encoded("x"), encoded(&pem));
    for shown in [pem.clone(), agent.chain(), encoded(&pem), der.clone(), xfcc.clone()] {
        let vouched = ask(&door, &shown).await.expect(200);
        let expected = json!({
            "spiffe_id": agent.field("spiffe_id"),
            "agent_id": "web-1",
            "host_id": agent.host_id(),
            "tenant_id": agent.field("tenant_id"),
            "serial": agent.serial(),
            "not_after": agent.field("not_after"),
            "tags": [],
        });
        assert_eq!(vouched, expected);
    }
    for (query, name, value) in [
        ("", HEADER, &encoded(&pem)),
        ("?header=x-ssl-client-cert", "X-SSL-Client-Cert", &der),
        ("?header=X-Forwarded-Client-Cert&tenant=default", "X-Forwarded-Client-Cert", &xfcc),
    ] {
        let answer = forward(&door, query, &[(name, value)]).await;
        assert_eq!(answer.status, 204, "{answer}");
        for (header, field) in [
            ("x-muster-spiffe-id", "spiffe_id"),
            ("x-muster-agent", "agent_id"),
            ("x-muster-tenant", "tenant_id"),
            ("x-muster-serial", "serial"),
        ] {
            assert_eq!(answer.header(header), Some(agent.field(field).as_str()));
        }
    }
    // Relying parties ask with each request of theirs, and are no writers.
    for _ in 0..1200 {
        assert_eq!(ask(&door, &der).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_a_live_agent_of_the_tenant_is_refused_with_the_reason() {
    let mut server = Server::quickstart();
    let shop = server.tenant("shop");
    let admin = Client::admin(&server).await;
    let (good, revoked, gone) = (
        Identity::enroll(&server, "web-1").await,
        Identity::enroll(&server, "web-2").await,
        Identity::enroll(&server, "web-3").await,
    );
    let old = Identity::enroll(&server, "web-4").await;
    let new = old.rotate(&server.http()).await;
    let theirs = named_host(&admin, &format!("?tenant={shop}"), "web-1").await;
    server.revoke("web-2");
    admin.delete(&format!("/v1/hosts/{}", gone.host_id())).await;
    let (own, all) = (relying_party(&server, Some("shop")), relying_party(&server, None));

    server.stop();
    let stolen = Hierarchy::stolen(&server);
    server.start_again_on_the_same_ports();
    let foreign = Hierarchy::foreign().imitate(&good, &Key::p256());
    let unrecorded = stolen.imitate_closely(&good, &Key::p256());
    // Every program that verifies the intermediate, too, refuses it from the day on when that ends.
    let endless = stolen.imitate(&good, &Key::p256());
    let uris = [&*good.field("spiffe_id"), "spiffe://muster/tenant/x/agent/y"];
    let second_uri = stolen.leaf(&uris, &good.serial(), &Key::p256());
    let pem = |identity: &Identity| identity.field("certificate");
    for (client, certificate, code) in [
        (&all, pem(&revoked), "identity_revoked"),
        (&all, pem(&gone), "identity_revoked"),
        (&all, pem(&theirs), "other_tenant"),
        (&own, pem(&good), "other_tenant"),
        (&all, foreign, "bad_chain"),
        (&all, unrecorded, "unknown_serial"),
        (&all, endless, "bad_chain"),
        (&all, second_uri, "bad_chain"),
        (&all, pem(&good) + &pem(&new), "bad_chain"),
        (&all, pem(&good)[..200].to_owned(), "bad_chain"),
        (&all, encoded(&encoded(&pem(&good))), "bad_chain"),
        (&all, good.field("intermediate"), "bad_chain"),
        (&all, good.field("trust_bundle"), "bad_chain"),
        (&all, String::new(), "bad_chain"),
        (&all, "A".repeat(60_000), "bad_chain"),
    ] {
        ask(client, &certificate).await.refused(403, code);
    }
    // Each of an agent's certificates that is recorded and in force is its own.
    for certificate in [pem(&old), pem(&new)] {
        assert_eq!(ask(&all, &certificate).await.status, 200);
    }
    assert_eq!(ask(&own, &pem(&theirs)).await.expect(200)["tenant_id"], json!(shop));
    let named = json!({ "certificate": pem(&theirs), "tenant": "shop" });
    assert_eq!(all.post("/v1/vouch", &named).await.status, 200);
    let nowhere = json!({ "certificate": pem(&theirs), "tenant": "nowhere" });
    all.post("/v1/vouch", &nowhere).await.refused(403, "other_tenant");
    all.post("/v1/vouch", &json!({ "certificate": 7 })).await.refused(400, "bad_request");

    // From one request to the next.
    admin.act(&format!("/v1/hosts/{}/decommission", good.host_id())).await.expect(200);
    ask(&all, &pem(&good)).await.refused(403, "identity_revoked");

    // One of hers that is on no record: refused by the identity, and relying parties that go by serials are told of it.
    let unlisted = "0190f0f0f0f0aaaaaaaaaaaaaaaaaaaa";
    let serial = HEXLOWER.decode(unlisted.as_bytes()).unwrap();
    let fresh = stolen.imitate_as(&revoked, &serial, &Key::p256());
    ask(&all, &fresh).await.refused(403, "identity_revoked");
    until_answered("its serial is listed", async || {
        let list = server.http().get("/agent-ca.crl").await.body;
        list.windows(serial.len()).any(|window| window == serial).then_some(())
    })
    .await;
    let audit = admin.get("/v1/audit?action=certificate.deny").await.json();
    assert_eq!(audit["items"][0]["detail"]["serial"], unlisted, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused() {
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "10s")]);
    let agent = Identity::enroll(&server, "web-1").await;
    let door = relying_party(&server, None);
    let refused = crate::support::wait::until_answered("the certificate has run out", async || {
        let answer = ask(&door, &agent.field("certificate")).await;
        (answer.status != 200).then_some(answer)
    });
    refused.await.refused(403, "svid_expired");
}

/// Every way in which a client's own headers could stand beside, or in the place of, those of a proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_s_question_counts_one_header_and_403_is_the_only_no() {
    let server = Server::quickstart();
    let agent = Identity::enroll(&server, "web-1").await;
    let door = relying_party(&server, None);
    let good = encoded(&agent.field("certificate"));
    let good = good.as_str();
    for (query, headers, code) in [
        ("", vec![], "bad_request"),
        ("", vec![(HEADER, "")], "bad_request"),
        ("", vec![(HEADER, "garbage")], "bad_chain"),
        ("", vec![("X-SSL-Client-Cert", good)], "bad_request"),
        ("", vec![(HEADER, good), ("X-SSL-Client-Cert", good)], "bad_request"),
        ("", vec![(HEADER, good), ("X-Forwarded-Client-Cert", "")], "bad_request"),
        ("?header=X-SSL-Client-Cert", vec![(HEADER, good)], "bad_request"),
        ("?header=Authorization", vec![(HEADER, good)], "bad_request"),
        ("?tenant=", vec![(HEADER, good)], "bad_request"),
        ("?Tenant=default", vec![(HEADER, good)], "bad_request"),
        ("?tenant=default&tenant=default", vec![(HEADER, good)], "bad_request"),
        ("?tenant=nowhere", vec![(HEADER, good)], "other_tenant"),
        ("?tag=role:web", vec![(HEADER, good)], "missing_tag"),
    ] {
        forward(&door, query, &headers).await.refused(403, code);
    }
    let doubled = door.request("GET", "/v1/forward-auth").header(HEADER, good).header(HEADER, good);
    assert_eq!(doubled.send().await.unwrap().status(), 403);
    let long = "A".repeat(64 * 1024);
    let answer = door.request("GET", "/v1/forward-auth").header(HEADER, &long).send().await.unwrap();
    assert_eq!(answer.status(), 431);
    // Who asks has to be somebody, and to have the right.
    forward(&Client::nobody(&server), "", &[(HEADER, good)]).await.refused(401, "unauthenticated");
    let reader = Client::bearer(&server, &server.api_token(&["agent.read"], None));
    forward(&reader, "", &[(HEADER, good)]).await.refused(403, "permission_denied");
    assert_eq!(forward(&door, "", &[(HEADER, good)]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_an_intermediate_before_are_vouched_for_beside_those_of_the_next() {
    let server = Server::quickstart();
    let before = Identity::enroll(&server, "web-1").await;
    let door = relying_party(&server, None);
    assert_eq!(ask(&door, &before.field("certificate")).await.status, 200);
    let key = server.data_dir().join("root-key.pem");
    server.cli(&["agent-ca", "renew", "--now", "--root-key", key.to_str().unwrap()]).run().ok();
    let after = Identity::enroll(&server, "web-2").await;
    for identity in [&before, &after] {
        assert_eq!(ask(&door, &identity.field("certificate")).await.status, 200);
        assert_eq!(ask(&door, &identity.chain()).await.status, 200);
    }
    // A leaf beside somebody else's intermediate.
    let mixed = before.field("certificate") + &after.field("intermediate");
    ask(&door, &mixed).await.refused(403, "bad_chain");
}
