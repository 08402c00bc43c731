// OpenID discovery as go-oidc sees it: a program that knows no SPIFFE, and has nothing but the issuer.
//
// Usage: discovery ISSUER SERVER_URL SERVER_CA AUDIENCE TOKEN
//
// Prints the subject of a token that verifies. The server is not at the issuer's address, so requests are sent on to it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
)

type sentOn struct {
	issuer, server string
	to             http.RoundTripper
}

func (s sentOn) RoundTrip(request *http.Request) (*http.Response, error) {
	path, ok := strings.CutPrefix(request.URL.String(), s.issuer)
	if !ok {
		return nil, fmt.Errorf("%s is not the issuer's", request.URL)
	}
	there, err := url.Parse(s.server + path)
	if err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.URL, request.Host = there, there.Host
	return s.to.RoundTrip(request)
}

func main() {
	issuer, server, audience, token := os.Args[1], os.Args[2], os.Args[4], os.Args[5]
	ca, err := os.ReadFile(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	to := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	ctx := oidc.ClientContext(context.Background(), &http.Client{Transport: sentOn{issuer, server, to}})
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: "mail"}).Verify(ctx, token); err == nil {
		log.Fatal("it is taken for another audience")
	}
	verified, err := provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verified.Subject)
}
