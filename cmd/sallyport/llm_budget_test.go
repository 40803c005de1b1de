package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestLLMBudgetNumbers: no number that a client asks for, or an upstream tells,
// makes a budget count less.
func TestLLMBudgetNumbers(t *testing.T) {
	const huge = "9223372036854775806"
	for name, c := range map[string]struct {
		ask, answer string
		next        int // the status of the request after it
	}{
		"a huge limit":                 {`{"model":"tiny","max_tokens":` + huge + `,"messages":[]}`, `{"choices":[],"usage":{"prompt_tokens":2500,"completion_tokens":2500}}`, 403},
		"a huge limit of many choices": {`{"model":"tiny","max_tokens":` + huge + `,"n":128,"messages":[]}`, `{"choices":[],"usage":{"prompt_tokens":2500,"completion_tokens":2500}}`, 403},
		"huge usage":                   {chat("x"), `{"choices":[],"usage":{"prompt_tokens":` + huge + `,"completion_tokens":` + huge + `}}`, 403},
		"usage below nothing":          {chat("x"), `{"choices":[{"message":{"content":"` + strings.Repeat("x", 6000) + `"}}],"usage":{"prompt_tokens":-5000,"completion_tokens":-5000}}`, 403},
		"usage that is no number":      {chat("x"), `{"choices":[{"message":{"content":"` + strings.Repeat("x", 6000) + `"}}],"usage":{"prompt_tokens":"1","completion_tokens":null}}`, 403},
		"no usage":                     {chat("x"), `{"choices":[{"message":{"content":"` + strings.Repeat("x", 6000) + `"}}]}`, 403},
		"little":                       {chat("x"), `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`, 200},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDouble(t)
			p := startLLM(t, llmPolicy, d.URL)
			d.set(say(c.answer))
			if status, got := p.ask(t, "metered", "POST", "/v1/chat/completions", c.ask); status != 200 {
				t.Fatalf("%d %.300s", status, got)
			}
			if status, got := p.ask(t, "metered", "POST", "/v1/chat/completions", chat("x")); status != c.next {
				t.Errorf("afterwards: %d %.300s, want %d", status, got, c.next)
			}
		})
	}
}

// TestLLMBudgetReservesAll: a limit that no budget reaches reserves all that is
// left, however large it is.
func TestLLMBudgetReservesAll(t *testing.T) {
	d := startDouble(t)
	p := startLLM(t, llmPolicy, d.URL)
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	d.set(func(w http.ResponseWriter, _, _ string) {
		arrived <- struct{}{}
		<-release
		say(`{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`)(w, "", "")
	})
	first := make(chan int)
	go func() {
		status, _ := p.ask(t, "metered", "POST", "/v1/chat/completions", `{"model":"tiny","max_tokens":9223372036854775806,"messages":[]}`)
		first <- status
	}()
	<-arrived
	if status, got := p.ask(t, "metered", "POST", "/v1/chat/completions", chat("x")); status != 403 && status != 429 {
		t.Errorf("with all tokens reserved: %d %s", status, got)
	}
	close(release)
	if status := <-first; status != 200 {
		t.Errorf("the first: %d", status)
	}
}

// TestLLMBudgetStreams: a stream is charged what it tells, and by its bytes
// where it ends before it tells anything, be it the upstream that breaks off or
// the client that goes.
func TestLLMBudgetStreams(t *testing.T) {
	const body = `{"model":"tiny","stream":true,"messages":[]}`
	long := `data: {"id":"c","choices":[{"index":0,"delta":{"content":"` + strings.Repeat("word ", 1500) + `"}}]}` + "\n\n"
	for name, c := range map[string]struct {
		events []string
		gone   bool
		next   int
	}{
		"told":             {[]string{long, `data: {"id":"c","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":20}}` + "\n\n", "data: [DONE]\n\n"}, false, 200},
		"told too much":    {[]string{long, `data: {"id":"c","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5000}}` + "\n\n", "data: [DONE]\n\n"}, false, 403},
		"not told":         {[]string{long, "data: [DONE]\n\n"}, false, 403},
		"broken off":       {[]string{long}, false, 403},
		"the client went":  {[]string{long, long}, true, 403},
		"told and retold":  {[]string{`data: {"id":"c","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5000}}` + "\n\n", `data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}` + "\n\n", "data: [DONE]\n\n"}, false, 403},
		"an error instead": {[]string{long, `data: {"error":{"message":"overloaded"}}` + "\n\n"}, false, 403},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDouble(t)
			p := startLLM(t, llmPolicy, d.URL)
			hold := make(chan struct{})
			d.set(func(w http.ResponseWriter, path, body string) {
				sayEvents(c.events...)(w, path, body)
				if c.gone {
					<-hold
				}
			})
			if c.gone {
				ctx, cancel := context.WithCancel(t.Context())
				r, err := http.NewRequestWithContext(ctx, "POST", p.url+"/v1/chat/completions", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer metered-token")
				r.Header.Set("Content-Type", "application/json")
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(resp.Body, make([]byte, 6000)); err != nil {
					t.Fatal(err)
				}
				cancel()
				resp.Body.Close()
				p.stop() // it ends once the request is over, and recorded
				code := <-p.code
				p.code <- code
				close(hold)
				p.serve(t)
			} else {
				p.ask(t, "metered", "POST", "/v1/chat/completions", body)
			}
			d.set(say(`{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`))
			if status, got := p.ask(t, "metered", "POST", "/v1/chat/completions", chat("x")); status != c.next {
				t.Errorf("afterwards: %d %.300s, want %d", status, got, c.next)
			}
		})
	}
}
