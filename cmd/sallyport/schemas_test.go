package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var schemas = filepath.Join("..", "..", "testdata", "schemas")

// validJUnit holds a report against the schema of what reads it.
func validJUnit(t *testing.T, report string) {
	t.Helper()
	cmd := exec.Command("xmllint", "--noout", "--nonet", "--schema", filepath.Join(schemas, "junit-10.xsd"), "-")
	cmd.Stdin = strings.NewReader(report)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, report)
	}
}

// validSARIF holds a report against the standard's schema.
func validSARIF(t *testing.T, report string) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(schemas, "sarif-2.1.0-rtm.5.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(report))
	if err == nil {
		err = schema.Validate(doc)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, report)
	}
}

// TestSchemas: what is not valid is found not to be.
func TestSchemas(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(schemas, "sarif-2.1.0-rtm.5.json"))
	if err != nil {
		t.Fatal(err)
	}
	if schema.Validate(map[string]any{"version": "2.1.0", "runs": []any{map[string]any{}}}) == nil {
		t.Error("SARIF without a tool is valid")
	}
	cmd := exec.Command("xmllint", "--noout", "--nonet", "--schema", filepath.Join(schemas, "junit-10.xsd"), "-")
	cmd.Stdin = strings.NewReader(`<testsuite name="x" tests="1" failures="0"></testsuite>`)
	if cmd.Run() == nil {
		t.Error("JUnit without a count of errors is valid")
	}
	code, out := runMain(t, "policy", "test", "--format", "junit", filepath.Join("..", "..", "testdata", "ci", "cases.yaml"))
	if code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	validJUnit(t, out)
}
