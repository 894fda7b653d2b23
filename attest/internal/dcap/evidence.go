package dcap

import (
	"bytes"
	"encoding/base64"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Members of the JSON that KBS clients send.
const (
	memberQuote = "quote"
	memberLog   = "cc_eventlog"
)

// Evidence is a quote with the event log that came with it. Nothing in it is verified.
type Evidence struct {
	Quote *Quote
	Log   []byte // nil where none was presented
}

// ParseEvidence reads evidence of at most limit bytes in both forms: the quote's bytes, and the JSON of KBS clients,
//
//	{"quote":"<base64>","cc_eventlog":"<base64>"|null}
//
// which is recognised by its first character that is not white space being "{": a quote begins with its version. It refuses with CodeTooLarge,
// CodeMalformed and what [ParseQuote] does.
func ParseEvidence(data []byte, limit int) (*Evidence, error) {
	if len(data) > limit {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), limit)
	}
	ev := new(Evidence)
	raw := data
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] == '{' {
		members, ok := scan(text)
		if !ok {
			var err error
			if members, err = membersOf(data); err != nil {
				return nil, attest.Refuse(attest.CodeMalformed, "the evidence: %w", err)
			}
		}
		var err error
		if raw, err = decode(members.quote); err != nil || len(raw) == 0 {
			return nil, attest.Refuse(attest.CodeMalformed, "the evidence has no %s in base64", memberQuote)
		}
		if members.log != nil {
			if ev.Log, err = decode(members.log); err != nil || len(ev.Log) == 0 {
				return nil, attest.Refuse(attest.CodeMalformed, "the member %s is not base64 of an event log", memberLog)
			}
		}
	}
	var err error
	if ev.Quote, err = ParseQuote(raw); err != nil {
		return nil, err
	}
	return ev, nil
}

// wireMembers are the values of the members that count, as base64; nil where they are absent or null.
type wireMembers struct{ quote, log []byte }

// scan reads the JSON that clients do send: an object of the two members, strings without escapes or null. It leaves anything else to
// membersOf, which reads all JSON and takes ten times as long as this, and nearly as long as verifying the quote.
func scan(text []byte) (m wireMembers, ok bool) {
	space := func() { text = bytes.TrimLeft(text, " \t\r\n") }
	next := func(c byte) bool {
		if space(); len(text) == 0 || text[0] != c {
			return false
		}
		text = text[1:]
		return true
	}
	// str reads a string that means what is written: none of its characters is an escape, a control or beyond ASCII.
	str := func() ([]byte, bool) {
		end := bytes.IndexByte(text, '"')
		if end < 0 {
			return nil, false
		}
		s := text[:end:end]
		for _, c := range s {
			if c < 0x20 || c >= 0x7f || c == '\\' {
				return nil, false
			}
		}
		text = text[end+1:]
		return s, true
	}
	seen := map[string]bool{}
	for first := true; ; first = false {
		if first && !next('{') || !first && !next(',') {
			return m, false
		}
		if !next('"') {
			return m, false
		}
		name, good := str()
		if !good || seen[string(name)] || !next(':') {
			return m, false
		}
		seen[string(name)] = true
		var value []byte
		if space(); bytes.HasPrefix(text, []byte("null")) {
			text = text[len("null"):]
		} else if !next('"') {
			return m, false
		} else if value, good = str(); !good {
			return m, false
		}
		switch string(name) {
		case memberQuote:
			m.quote = value
		case memberLog:
			m.log = value
		default:
			return m, false
		}
		if next('}') {
			space()
			return m, len(text) == 0
		}
	}
}

// membersOf reads the members of any JSON object. Those that are not known are passed over, as clients of other versions have had some; one that
// is there twice is an error.
func membersOf(data []byte) (m wireMembers, err error) {
	members, err := strictjson.Object(data)
	if err != nil {
		return m, err
	}
	for name, to := range map[string]*[]byte{memberQuote: &m.quote, memberLog: &m.log} {
		value, there := members[name]
		if !there || string(value) == "null" {
			continue
		}
		text, err := strictjson.String(value)
		if err != nil {
			return m, err
		}
		*to = append([]byte{}, text...)
	}
	return m, nil
}

// decode reads standard base64 as an encoder writes it: padded, without line breaks, and without bits that no byte takes.
func decode(text []byte) ([]byte, error) {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(out, text)
	if err == nil && base64.StdEncoding.EncodedLen(n) != len(text) {
		err = base64.CorruptInputError(0) // there were line breaks
	}
	return out[:n], err
}
