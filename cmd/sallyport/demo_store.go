package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/sallyport-proxy/sallyport/proxy/upstream/throwaway"
)

// demoTickets is how many points the demo's collection has.
const demoTickets = 2000

// startStore starts the stand-in for Qdrant and fills it with support tickets,
// whose vectors are made up: one number a topic.
func (d *demo) startStore() (err error) {
	d.say("And a stand-in for Qdrant with %d support tickets. It ships with Sallyport, keeps its points in memory and serves", demoTickets)
	d.say("the demo and tests alone: Debian has no package of a vector store. Everything before it is what a real one gets …")
	if d.points, err = throwaway.StartPoints(demoStoreKey); err != nil {
		return err
	}
	topics := []string{"a bill", "a parcel", "a login", "a return"}
	var b bytes.Buffer
	for i := range demoTickets {
		sep, v := ',', [4]float64{0.1, 0.1, 0.1, 0.1}
		if i == 0 {
			sep = '['
		}
		v[i%4] += 0.5 + float64(i%7)/10
		fmt.Fprintf(&b, `%c{"id":%d,"vector":[%.1f,%.1f,%.1f,%.1f],"payload":{"topic":%q,"open":%t,"customer":{"name":"Customer %d","email":"customer%d@example.com","phone":"+351 21 555 %04d"}}}`,
			sep, i+1, v[0], v[1], v[2], v[3], topics[i%4], i%3 == 0, i+1, i+1, i)
	}
	b.WriteByte(']')
	return d.points.Upsert("tickets", b.Bytes())
}

var demoHeld = regexp.MustCompile(`held for approval: ([0-9a-f]+)`)

// walkStore shows a worker's requests to the vector store: a payload that is
// masked, a drop that is refused, a scroll that waits.
func (d *demo) walkStore(ctx context.Context, config string) error {
	d.step("A worker searches the tickets by Qdrant's API, with its own token: classed payload fields come back masked.\n")
	search, err := d.curl(ctx, "POST", "/collections/tickets/points/query", `{"query":[0.9,0.1,0.1,0.1],"limit":2,"with_payload":true}`)
	if err != nil {
		return err
	}
	d.print(search)
	d.step("It drops the collection: refused, by the same rule as a table.\n")
	drop, err := d.curl(ctx, "DELETE", "/collections/tickets", "")
	if err != nil {
		return err
	}
	d.print(drop)
	const bulk = `{"limit":2000}`
	d.step("It scrolls through all of them: held. The answer is 403 with the hold's id; the same request passes once it is granted.\n")
	held, err := d.curl(ctx, "POST", "/collections/tickets/points/scroll", bulk)
	if err != nil {
		return err
	}
	d.print(held)
	id := demoHeld.FindStringSubmatch(held)
	_, there := d.points.Len("tickets")
	if !strings.Contains(search, "c***@example.com") || !strings.Contains(drop, "no-destructive-ddl") || !there || id == nil {
		return errors.New("the demo's requests to the vector store did not end as they should")
	}
	if err := d.walkCommands(ctx, []demoStep{{"", []string{"approvals", "approve", "--config", config, "--as", "dana", "--reason", "new index", id[1]}}}); err != nil {
		return err
	}
	d.say("")
	granted, err := d.curl(ctx, "POST", "/collections/tickets/points/scroll", bulk)
	if err != nil {
		return err
	}
	d.print(granted[:min(len(granted), 300)] + " …")
	var answer struct {
		Result struct{ Points []struct{ ID int } }
	}
	if err := json.Unmarshal([]byte(granted), &answer); err != nil || len(answer.Result.Points) != demoTickets || strings.Contains(granted, "customer1@") {
		return fmt.Errorf("the granted scroll did not give %d masked points: %w", demoTickets, err)
	}
	d.say("\n   %d points, masked. The next scroll asks again.", len(answer.Result.Points))
	return nil
}

// curl sends a request to the vector store's target and shows it as curl's
// line, which does the same.
func (d *demo) curl(ctx context.Context, method, path, body string) (string, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d%s", d.store, path)
	line := fmt.Sprintf("curl -s -X %s %s -H 'api-key: %s'", method, url, demoWorkerToken)
	if body != "" {
		line += " -H 'content-type: application/json' -d '" + body + "'"
	}
	d.say("  $ %s", line)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Api-Key", demoWorkerToken)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}
