package main

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/sallyport-proxy/sallyport/"

// allowed lists, for each package, what it may import of ours, directly. A
// line here is a design decision: see docs/architecture.md.
var allowed = map[string][]string{
	"sqlpolicy/facts":                    {},
	"sqlpolicy/catalog":                  {"sqlpolicy/facts"},
	"sqlpolicy/lineage":                  {"sqlpolicy/facts", "sqlpolicy/catalog"},
	"sqlpolicy/mysettings":               {"sqlpolicy/facts"},
	"sqlpolicy/myfacts":                  {"sqlpolicy/facts", "sqlpolicy/catalog", "sqlpolicy/lineage", "sqlpolicy/mysettings"},
	"sqlpolicy/pgfacts":                  {"sqlpolicy/facts", "sqlpolicy/catalog", "sqlpolicy/lineage", "sqlpolicy/pgsettings"},
	"sqlpolicy/pgsettings":               {"sqlpolicy/facts"},
	"sqlpolicy/mask":                     {"sqlpolicy/facts"},
	"sqlpolicy":                          {"sqlpolicy/facts", "sqlpolicy/mask", "sqlpolicy/strictyaml"},
	"sqlpolicy/strictyaml":               {},
	"protocols":                          {"sqlpolicy/facts", "sqlpolicy/catalog", "sqlpolicy/mask"},
	"protocols/internal/sqlwire":         {},
	"protocols/internal/httpgate":        {"protocols", "sqlpolicy/facts"},
	"protocols/llm":                      {"protocols", "protocols/internal/httpgate", "sqlpolicy/facts", "sqlpolicy/mask"},
	"protocols/vector":                   {"protocols", "protocols/internal/httpgate", "sqlpolicy/facts", "sqlpolicy/mask"},
	"protocols/postgres":                 {"protocols", "protocols/internal/sqlwire", "sqlpolicy/facts", "sqlpolicy/catalog", "sqlpolicy/mask", "sqlpolicy/pgsettings"},
	"protocols/mysql":                    {"protocols", "protocols/internal/sqlwire", "sqlpolicy/facts", "sqlpolicy/catalog", "sqlpolicy/mask"},
	"replay/rerun":                       {"replay", "sqlpolicy/facts"},
	"replay/archive":                     {"replay"},
	"replay":                             {"sqlpolicy/facts", "sqlpolicy/catalog", "sqlpolicy"},
	"proxy/identity":                     {"protocols", "sqlpolicy/facts"},
	"proxy/identity/idptest":             {},
	"proxy/socket":                       {},
	"proxy/upstream":                     {"protocols", "proxy/socket"},
	"proxy/upstream/throwaway":           {},
	"proxy/upstream/throwaway/throwtest": {"proxy/upstream/throwaway"},
	"proxy/store":                        {"sqlpolicy/facts"},
	"proxy/approval":                     {"sqlpolicy/facts"},
	"proxy/budget":                       {"sqlpolicy/facts"},
	"proxy/register":                     {"replay"},
	"proxy/console":                      {"replay", "replay/archive", "sqlpolicy/facts"},
	"proxy/console/client":               {"proxy/console", "replay", "sqlpolicy/facts"},
	"proxy": {"protocols", "replay", "replay/archive", "sqlpolicy", "sqlpolicy/facts", "sqlpolicy/catalog", "sqlpolicy/mask", "sqlpolicy/strictyaml",
		"proxy/identity", "proxy/approval", "proxy/budget", "proxy/upstream", "proxy/register", "proxy/socket", "proxy/store", "proxy/console"},
}

// TestImports holds the edges between the rooms. cmd may import everything.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module)
		if strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "bench") {
			continue
		}
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s has no line in allowed: say what it may import", name)
			continue
		}
		seen++
		for _, imp := range fields[1:] {
			imp, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			found := false
			for _, m := range may {
				found = found || m == imp
			}
			if !found {
				t.Errorf("%s imports %s, which docs/architecture.md does not allow", name, imp)
			}
		}
	}
	if seen < 10 {
		t.Errorf("saw only %d packages", seen)
	}
}
