package throwaway

import (
	"os"
	"strings"
)

// tail is the end of a log, to stand behind an error's text; empty where there is nothing to quote.
func tail(path string) string {
	const lines = 12
	text, err := os.ReadFile(path)
	if err != nil || len(text) == 0 {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "\n    " + strings.Join(all, "\n    ")
}
