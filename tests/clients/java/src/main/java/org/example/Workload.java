package org.example;

import io.spiffe.exception.AuthorityNotFoundException;
import io.spiffe.exception.BundleNotFoundException;
import io.spiffe.exception.JwtSvidException;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.svid.x509svid.X509Svid;
import io.spiffe.svid.x509svid.X509SvidValidator;
import io.spiffe.workloadapi.DefaultJwtSource;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.DefaultX509Source;
import io.spiffe.workloadapi.JwtSource;
import io.spiffe.workloadapi.JwtSourceOptions;
import io.spiffe.workloadapi.WorkloadApiClient;
import java.time.Duration;
import java.util.Set;

/**
 * The Workload API as java-spiffe sees it, for as long as the program runs.
 *
 * <p>Usage: Workload SOCKET. Prints "x509 ID SERIAL" for each X.509-SVID that verifies, and "jwt ID TOKEN" for each JWT-SVID that
 * does. Keys and roots come from the watches of java-spiffe's sources, which are opened once.
 */
public final class Workload {
    private static final Duration PATIENCE = Duration.ofSeconds(50);

    public static void main(String[] args) {
        try {
            watch("unix:" + args[0]);
        } catch (Throwable error) {
            // Threads of java-spiffe would keep the program going.
            error.printStackTrace();
            System.exit(1);
        }
    }

    private static void watch(String socket) throws Exception {
        WorkloadApiClient agent = DefaultWorkloadApiClient.newClient(
                DefaultWorkloadApiClient.ClientOptions.builder().spiffeSocketPath(socket).build());
        DefaultX509Source certificates = DefaultX509Source.newSource(DefaultX509Source.X509SourceOptions.builder()
                .spiffeSocketPath(socket)
                .initTimeout(PATIENCE)
                .build());
        JwtSource tokens = DefaultJwtSource.newSource(
                JwtSourceOptions.builder().spiffeSocketPath(socket).initTimeout(PATIENCE).build());
        String serial = "";
        String token = "";
        for (; ; Thread.sleep(100)) {
            X509Svid svid = certificates.getX509Svid();
            String now = svid.getLeaf().getSerialNumber().toString(16);
            if (!now.equals(serial)) {
                X509SvidValidator.verifyChain(svid.getChain(), certificates);
                X509SvidValidator.verifySpiffeId(svid.getLeaf(), () -> Set.of(svid.getSpiffeId()));
                System.out.println("x509 " + svid.getSpiffeId() + " " + now);
                serial = now;
            }
            // The server may be away, and its new key under way: what counts is that a token comes in the end.
            try {
                JwtSvid fetched = tokens.fetchJwtSvid("db", "api");
                if (!fetched.getToken().equals(token)) {
                    judge(agent, tokens, fetched.getToken());
                    token = fetched.getToken();
                    System.out.println("jwt " + fetched.getSpiffeId() + " " + token);
                }
            } catch (JwtSvidException | BundleNotFoundException | AuthorityNotFoundException notYet) {
                notYet.printStackTrace();
            }
        }
    }

    /** Checks a token here and at the agent, which both must take it for its own audience and for no other. */
    private static void judge(WorkloadApiClient agent, JwtSource keys, String token)
            throws JwtSvidException, BundleNotFoundException, AuthorityNotFoundException {
        JwtSvid.parseAndValidate(token, keys, Set.of("api"));
        agent.validateJwtSvid(token, "db");
        try {
            JwtSvid.parseAndValidate(token, keys, Set.of("mail"));
            throw new IllegalStateException("the library takes it for another audience");
        } catch (JwtSvidException asItShould) {
            // It is for others.
        }
        try {
            agent.validateJwtSvid(token, "mail");
            throw new IllegalStateException("the agent takes it for another audience");
        } catch (JwtSvidException asItShould) {
            // It is for others.
        }
    }
}
