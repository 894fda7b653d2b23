// Package fences reads the fenced blocks of Markdown pages, so that tests can hold what documents show against the code. It knows the one
// form that the project's pages use: three backticks and a language, and three backticks that end the block. A block in a list is indented, and
// its text is returned without the fence's indentation.
//
// An HTML comment right before a block, on a line of its own, is the block's note: <!-- refused: unknown member --> says to a test what the
// reader is told by the text.
package fences

import (
	"fmt"
	"strings"
)

// Block is one fenced block.
type Block struct {
	Line     int    // of the opening fence, from 1
	Language string // what follows the opening fence
	Note     string // what the comment before it says, or ""
	Text     string
}

const fence = "```"

// Parse returns the blocks of a page. A block that does not end is an error.
func Parse(page string) ([]Block, error) {
	var (
		blocks []Block
		open   *Block
		note   string
	)
	line, indentation := 0, ""
	for text := range strings.Lines(page) {
		line++
		bare := strings.TrimSpace(text)
		switch {
		case open != nil && bare == fence:
			blocks = append(blocks, *open)
			open, note = nil, ""
		case open != nil:
			open.Text += strings.TrimPrefix(text, indentation)
		case strings.HasPrefix(bare, fence):
			open = &Block{Line: line, Language: strings.TrimPrefix(bare, fence), Note: note}
			indentation, _, _ = strings.Cut(text, fence)
		case strings.HasPrefix(bare, "<!--") && strings.HasSuffix(bare, "-->"):
			note = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(bare, "<!--"), "-->"))
		case bare != "":
			note = ""
		}
	}
	if open != nil {
		return nil, fmt.Errorf("the block that begins in line %d does not end", open.Line)
	}
	return blocks, nil
}
