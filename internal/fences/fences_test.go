package fences_test

import (
	"slices"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/fences"
)

func TestParse(t *testing.T) {
	page := "text\n\n<!-- refused: x -->\n```yaml\na: 1\n\nb: 2\n```\n<!-- lost -->\nmore text\n```sh\nls\n```\n```\nplain\n```\n1. x\n\n   ```sh\n   a \\\n     b\n   ```\n"
	got, err := fences.Parse(page)
	want := []fences.Block{
		{Line: 4, Language: "yaml", Note: "refused: x", Text: "a: 1\n\nb: 2\n"},
		{Line: 11, Language: "sh", Text: "ls\n"},
		{Line: 14, Text: "plain\n"},
		{Line: 19, Language: "sh", Text: "a \\\n  b\n"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := fences.Parse("```yaml\na: 1\n"); err == nil {
		t.Error("a block without an end was read")
	}
}
