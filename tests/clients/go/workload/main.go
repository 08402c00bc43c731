// The Workload API as go-spiffe sees it, for as long as the program runs.
//
// Usage: workload SOCKET
//
// Prints "x509 ID SERIAL" for each X.509-SVID that verifies, and "jwt ID TOKEN" for each JWT-SVID that does. Keys and roots come
// from the watches of go-spiffe's sources, which are opened once.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	ctx := context.Background()
	address := workloadapi.WithAddr("unix://" + os.Args[1])
	client, err := workloadapi.New(ctx, address)
	if err != nil {
		log.Fatal(err)
	}
	certificates, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client))
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := workloadapi.NewJWTSource(ctx, workloadapi.WithClient(client))
	if err != nil {
		log.Fatal(err)
	}
	var serial, token string
	for ; ; time.Sleep(100 * time.Millisecond) {
		svid, err := certificates.GetX509SVID()
		if err != nil {
			log.Fatal(err)
		}
		if now := svid.Certificates[0].SerialNumber.Text(16); now != serial {
			id, _, err := x509svid.Verify(svid.Certificates, certificates)
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println("x509", id, now)
			serial = now
		}
		// The server may be away, and its new key under way: what counts is that a token comes in the end.
		fetched, err := tokens.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "db", ExtraAudiences: []string{"api"}})
		if err != nil {
			log.Print(err)
			continue
		}
		now := fetched.Marshal()
		if now == token {
			continue
		}
		if err := judge(ctx, client, tokens, now); err != nil {
			log.Print(err)
			continue
		}
		fmt.Println("jwt", fetched.ID, now)
		token = now
	}
}

// judge checks a token here and at the agent, which both must take it for its own audience and for no other.
func judge(ctx context.Context, client *workloadapi.Client, keys *workloadapi.JWTSource, token string) error {
	if _, err := jwtsvid.ParseAndValidate(token, keys, []string{"api"}); err != nil {
		return err
	}
	if _, err := client.ValidateJWTSVID(ctx, token, "db"); err != nil {
		return err
	}
	if _, err := jwtsvid.ParseAndValidate(token, keys, []string{"mail"}); err == nil {
		log.Fatal("the library takes it for another audience")
	}
	if _, err := client.ValidateJWTSVID(ctx, token, "mail"); err == nil {
		log.Fatal("the agent takes it for another audience")
	}
	return nil
}
