package main

import (
	"fmt"
	"io"
	"log/slog"
)

// loggerSettings say how the server logs.
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
	switch s.Format {
	case "", "json", "text":
		return newLogger(w, level, s.Format), nil
	default:
		return nil, fmt.Errorf("log.format is %q, not json or text", s.Format)
	}
}

func newLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: bounded}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
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
