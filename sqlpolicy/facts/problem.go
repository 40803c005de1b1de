package facts

import "fmt"

// Problem is a statement that analysis could not understand or resolve. It
// is told to the client in its dialect's own manner. Undefined says that a
// name was not found, which a fresher catalog may cure.
type Problem struct {
	Code      string `json:"code"` // SQLSTATE, or the dialect's own code
	Message   string `json:"message"`
	Detail    string `json:"detail,omitempty"`
	Hint      string `json:"hint,omitempty"`
	At        int    `json:"at"` // byte offset in the text, -1 where unknown
	Undefined bool   `json:"undefined,omitempty"`
	// Unparsed says that the parser did not understand the text.
	Unparsed bool `json:"unparsed,omitempty"`
}

func (p *Problem) Error() string { return fmt.Sprintf("%s (%s)", p.Message, p.Code) }
