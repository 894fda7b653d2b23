package dcap

import (
	"bytes"
	"encoding/base64"
	"errors"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
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
	return ParseEvidenceInto(nil, data, limit)
}

// Memory is what the quote of one piece of evidence is decoded into, where it is written in text and fits. It has room for quotes as platforms make them, which are of 5 KB and
// which some guests fill up to 8,000 bytes.
type Memory [8 << 10]byte

// ParseEvidenceInto parses as [ParseEvidence] does, with memory, which may be nil, in the place of new memory, which takes as long to touch as the rest of
// the parsing. The evidence is a part of it, and nothing that is proved by it is.
func ParseEvidenceInto(memory *Memory, data []byte, limit int) (*Evidence, error) {
	if len(data) > limit {
		return nil, attest.Refuse(attest.CodeTooLarge, "evidence of %d bytes: at most %d are read", len(data), limit)
	}
	ev := new(Evidence)
	raw := data
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] == '{' {
		var err error
		if raw, ev.Log, err = read(memory, text); err != nil {
			return nil, attest.Refuse(attest.CodeMalformed, "the evidence: %w", err)
		}
	}
	var err error
	if ev.Quote, err = ParseQuote(raw); err != nil {
		return nil, err
	}
	return ev, nil
}

// read returns quote and log from JSON.
func read(memory *Memory, text []byte) (quote, log []byte, err error) {
	if m, ok := scan(text); ok {
		if quote, log, err = m.decode(memory); err == nil {
			return quote, log, nil
		}
	}
	m, err := membersOf(text)
	if err != nil {
		return nil, nil, err
	}
	return m.decode(memory)
}

// wireMembers are the values of the members that count, as base64; nil where they are absent or null.
type wireMembers struct{ quote, log []byte }

// decode decodes the values, the quote into memory where it fits.
func (m wireMembers) decode(memory *Memory) (quote, log []byte, err error) {
	var space []byte
	if n := base64.StdEncoding.DecodedLen(len(m.quote)); memory != nil && n <= len(memory) {
		space = memory[:n]
	} else {
		space = make([]byte, n)
	}
	if quote, err = jsonscan.DecodeBase64Into(space, base64.StdEncoding, m.quote); err != nil || len(quote) == 0 {
		return nil, nil, errors.New("it has no " + memberQuote + " in base64")
	}
	if m.log != nil {
		if log, err = jsonscan.DecodeBase64(base64.StdEncoding, m.log); err != nil || len(log) == 0 {
			return nil, nil, errors.New("the member " + memberLog + " is not base64 of an event log")
		}
	}
	return quote, log, nil
}

// scan takes the values out of the JSON that clients do send: an object of the two members, strings or null. It reads no escapes, so what
// it returns counts only if it decodes as base64, in which a string that JSON reads otherwise has no place. All else it leaves to
// membersOf, which reads all JSON and takes nearly as long as verifying the quote does.
func scan(text []byte) (m wireMembers, ok bool) {
	next := func(token string) bool {
		if len(text) > 0 && text[0] <= ' ' {
			text = bytes.TrimLeft(text, " \t\r\n")
		}
		if len(text) < len(token) || string(text[:len(token)]) != token {
			return false
		}
		text = text[len(token):]
		return true
	}
	var seen [2]bool
	for separator := "{"; next(separator); separator = "," {
		var to *[]byte
		switch {
		case next(`"`+memberQuote+`"`) && !seen[0]:
			to, seen[0] = &m.quote, true
		case next(`"`+memberLog+`"`) && !seen[1]:
			to, seen[1] = &m.log, true
		default:
			return m, false
		}
		switch {
		case !next(":"):
			return m, false
		case next("null"):
		case next(`"`):
			end := bytes.IndexByte(text, '"')
			if end < 0 {
				return m, false
			}
			*to, text = text[:end:end], text[end+1:]
		default:
			return m, false
		}
		if next("}") {
			return m, len(bytes.TrimLeft(text, " \t\r\n")) == 0
		}
	}
	return m, false
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
