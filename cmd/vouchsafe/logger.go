package main

import (
	"fmt"
	"io"
	"log/slog"
)

type loggerSettings struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// maxLogValue bounds one value in a log line, in bytes: an error can quote what a stranger sent.
const maxLogValue = 2048

// logger returns what the settings say: JSON at level info when they say nothing.
func (s loggerSettings) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if s.Level != "" {
		if err := level.UnmarshalText([]byte(s.Level)); err != nil {
			return nil, fmt.Errorf("log.level is %q, not debug, info, warn or error", s.Level)
		}
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: bounded}
	switch s.Format {
	case "", "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("log.format is %q, not json or text", s.Format)
	}
}

// bounded cuts a value that is too long for a log line.
func bounded(_ []string, a slog.Attr) slog.Attr {
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	default:
		return a
	}
	if len(text) > maxLogValue {
		text = text[:maxLogValue] + fmt.Sprintf("… (%d bytes more)", len(text)-maxLogValue)
	}
	return slog.String(a.Key, text)
}
