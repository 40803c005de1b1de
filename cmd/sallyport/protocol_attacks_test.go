package main

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// secretValue is customer 1's ssn in the demo's shop.
const secretValue = "137-21-6151"

// TestProtocolAttacks plays with names that SQL and the protocol share, with
// errors inside pipelines and with what is described or not, to make the
// proxy believe of a result what is not true. The value must never come back.
func TestProtocolAttacks(t *testing.T) {
	t.Parallel()
	_, s, conn := shopProxy(t)
	oid, err := strconv.ParseUint(strings.TrimSpace(sql(t, s, "shop", "SELECT 'query_to_xml'::regproc::oid::int")), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	const steal = "SELECT ssn FROM customers WHERE id = 1"
	type msgs = []pgproto3.FrontendMessage
	q := func(text string) msgs { return msgs{&pgproto3.Query{String: text}} }
	parse := func(name, text string) pgproto3.FrontendMessage { return &pgproto3.Parse{Name: name, Query: text} }
	bind := func(portal, stmt string) pgproto3.FrontendMessage {
		return &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: stmt}
	}
	run := func(portal string, n uint32) pgproto3.FrontendMessage {
		return &pgproto3.Execute{Portal: portal, MaxRows: n}
	}
	sync := &pgproto3.Sync{}
	for name, steps := range map[string][]msgs{
		"PREPARE, Close, Parse, EXECUTE": {
			q("PREPARE p AS SELECT 'x'::text AS ssn"), {&pgproto3.Close{ObjectType: 'S', Name: "p"}, sync}, {parse("p", steal), sync}, q("EXECUTE p"),
		},
		"Parse, DEALLOCATE, PREPARE, Bind": {
			{parse("p", "SELECT 'x'::text"), sync}, q("DEALLOCATE p"), q("PREPARE p AS " + steal), {bind("", "p"), run("", 0), sync},
		},
		"a failing PREPARE over a masked one": {
			q("PREPARE p AS " + steal), q("PREPARE p AS SELECT 'x'::text"), q("EXECUTE p"), {parse("p", "SELECT 'x'::text"), sync}, {bind("", "p"), run("", 0), sync},
		},
		"a failing Parse over a masked one": {
			{parse("p", steal), sync}, {parse("p", "SELECT 'x'::text"), sync}, {bind("", "p"), run("", 0), sync},
		},
		"Parse in a pipeline that fails": {
			{parse("p", steal), sync}, {parse("", "SELECT 1/0"), bind("", ""), run("", 0), &pgproto3.Close{ObjectType: 'S', Name: "p"}, parse("p", "SELECT 'x'::text"), sync},
			{bind("", "p"), run("", 0), sync},
		},
		"a cursor under a portal's name": {
			q("BEGIN"), {parse("", "SELECT 'x'::text"), bind("c", ""), sync}, {&pgproto3.Close{ObjectType: 'P', Name: "c"}, sync},
			q("DECLARE c CURSOR FOR " + steal), {run("c", 0), sync}, q("ROLLBACK"),
		},
		"a portal under a cursor's name": {
			q("BEGIN"), q("DECLARE c CURSOR FOR SELECT 'x'::text"), {&pgproto3.Close{ObjectType: 'P', Name: "c"}, sync},
			{parse("", steal), bind("c", ""), sync}, q("FETCH c"), q("ROLLBACK"),
		},
		"a failing DECLARE over a masked cursor": {
			q("BEGIN"), q("DECLARE c CURSOR FOR " + steal), q("SAVEPOINT s"), q("DECLARE c CURSOR FOR SELECT 'x'::text"), q("ROLLBACK TO s"), q("FETCH c"), q("ROLLBACK"),
		},
		"a CLOSE that is rolled back": {
			q("BEGIN"), q("DECLARE c CURSOR FOR " + steal), q("SAVEPOINT s"), q("CLOSE c"), q("DECLARE c CURSOR FOR SELECT 'x'::text"), q("ROLLBACK TO s"), q("FETCH c"), q("ROLLBACK"),
		},
		"suspended":      {{parse("", "SELECT ssn FROM customers ORDER BY id"), bind("", ""), run("", 1), run("", 1), run("", 0), sync}},
		"executed twice": {{parse("", steal), bind("", ""), run("", 0), run("", 0), sync}},
		"described as another": {
			{parse("a", "SELECT name FROM customers WHERE id = 1"), parse("b", steal), &pgproto3.Describe{ObjectType: 'S', Name: "a"}, bind("", "b"), run("", 0), sync},
		},
		"names that move between Bind and Execute": {
			q("CREATE SCHEMA moved"), q("CREATE TABLE moved.customers AS SELECT 1 AS id, 'x'::text AS ssn"), q("BEGIN"), q("SET LOCAL search_path = moved"),
			{parse("", steal), bind("c", ""), sync}, q("SET LOCAL search_path = public"), {run("c", 0), sync}, q("ROLLBACK"),
		},
		"names that move between Parse and Bind": {
			q("SET search_path = moved"), {parse("p", steal), sync}, q("SET search_path = public"), {bind("", "p"), run("", 0), sync}, q("RESET search_path"),
		},
		"names that move inside a pipeline": {
			{parse("", "SET search_path = moved"), bind("", ""), run("", 0), parse("", steal), bind("", ""), run("", 0), sync}, q("RESET search_path"),
			{parse("a", "SET search_path = public"), parse("b", steal), bind("x", "a"), run("x", 0), bind("", "b"), run("", 0), sync},
		},
		"COPY by the extended protocol": {{parse("", "COPY customers TO STDOUT"), bind("", ""), run("", 0), sync}},
		"fast path":                     {{&pgproto3.FunctionCall{Function: uint32(oid), Arguments: [][]byte{[]byte(steal), []byte("t"), []byte("f"), []byte("")}, ArgFormatCodes: []uint16{0}}}},
		"two texts in one":              {q("SELECT 'x'::text; " + steal), q(steal + "; SELECT 1"), q("BEGIN; " + steal + "; COMMIT")},
		"refused, then pipelined":       {{parse("", "SELECT ssn::int FROM customers"), bind("", ""), run("", 0), parse("", steal), bind("", ""), run("", 0), sync}, q(steal)},
		"a name of the proxy's own":     {{parse("sallyport_own", steal), bind("sallyport_own", "sallyport_own"), run("sallyport_own", 0), sync}, q(steal)},
	} {
		t.Run(name, func(t *testing.T) {
			session := dialRaw(t, conn)
			defer session.conn.Close()
			rows := 0
			for i, step := range steps {
				if err := session.send(step...); err != nil {
					t.Fatal(err)
				}
				_, extended := step[len(step)-1].(*pgproto3.Sync)
				frames, err := session.until(extended)
				for _, f := range frames {
					if f[0] == 'D' || f[0] == 'd' {
						rows++
					}
					if bytes.Contains(f, []byte(secretValue)) {
						t.Errorf("step %d: the value came back in %q %q", i, f[0], f[5:])
					}
				}
				if err != nil {
					t.Logf("step %d: the session ended: %s", i, collect(frames, err, false).problem)
					return
				}
			}
			t.Logf("%d rows", rows)
		})
	}
}
