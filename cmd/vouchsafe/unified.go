package main

import (
	"fmt"
	"strings"
)

const (
	// diffContext is how many lines are shown around what differs.
	diffContext = 3
	// diffCells bounds the work of finding the shortest difference. What is larger, a set with thousands of values that were all replaced, is shown as all lines removed
	// and all added.
	diffCells = 4 << 20
)

// unified returns the difference of two texts in hunks, as diff -u prints it; nothing when they are equal.
func unified(from, to, before, after string) []string {
	if before == after {
		return nil
	}
	return append([]string{"--- " + from, "+++ " + to}, hunks(marked(before, after))...)
}

// marked returns all lines of both texts in their order, each behind " " where both have it, "-" or "+".
func marked(before, after string) []string {
	a, b := textLines(before), textLines(after)
	head := 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	all := []string{}
	for _, line := range a[:head] {
		all = append(all, " "+line)
	}
	all = append(all, middle(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, line := range a[len(a)-tail:] {
		all = append(all, " "+line)
	}
	return all
}

// textLines returns the lines of a text. The last one of a text that does not end in a line feed says so, as it differs from one that does.
func textLines(text string) []string {
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if !strings.HasSuffix(text, "\n") {
		lines[len(lines)-1] += " (no line feed at the end)"
	}
	return lines
}

func middle(a, b []string) (lines []string) {
	if len(a)*len(b) <= diffCells {
		return diffLines(a, b)
	}
	for _, line := range a {
		lines = append(lines, "-"+line)
	}
	for _, line := range b {
		lines = append(lines, "+"+line)
	}
	return lines
}

// diffLines is marked, with the shortest difference, for at most diffCells of lines times lines: of which the smaller fits into 16 bits.
func diffLines(before, after []string) []string {
	// common[i][j] is the length of the longest common part of before[i:] and after[j:].
	common := make([][]int16, len(before)+1)
	for i := range common {
		common[i] = make([]int16, len(after)+1)
	}
	for i := len(before) - 1; i >= 0; i-- {
		for j := len(after) - 1; j >= 0; j-- {
			if before[i] == after[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var lines []string
	i, j := 0, 0
	for i < len(before) || j < len(after) {
		switch {
		case i < len(before) && j < len(after) && before[i] == after[j]:
			lines = append(lines, " "+before[i])
			i, j = i+1, j+1
		case j == len(after) || i < len(before) && common[i+1][j] >= common[i][j+1]:
			lines = append(lines, "-"+before[i])
			i++
		default:
			lines = append(lines, "+"+after[j])
			j++
		}
	}
	return lines
}

// hunks leaves out of marked lines those that are far from what differs.
func hunks(all []string) (lines []string) {
	shown := make([]bool, len(all))
	for i, line := range all {
		if line[0] != ' ' {
			for j := max(0, i-diffContext); j <= min(len(all)-1, i+diffContext); j++ {
				shown[j] = true
			}
		}
	}
	oldAt, newAt := 1, 1
	for i := 0; i < len(all); {
		oldLines, newLines := 0, 0
		end := i
		for end < len(all) && shown[end] == shown[i] {
			if all[end][0] != '+' {
				oldLines++
			}
			if all[end][0] != '-' {
				newLines++
			}
			end++
		}
		if shown[i] {
			lines = append(lines, fmt.Sprintf("@@ -%s +%s @@", hunkRange(oldAt, oldLines), hunkRange(newAt, newLines)))
			lines = append(lines, all[i:end]...)
		}
		oldAt, newAt, i = oldAt+oldLines, newAt+newLines, end
	}
	return lines
}

// hunkRange is where a hunk begins, which is the line before it when it has none, and how many lines it has.
func hunkRange(at, lines int) string {
	if lines == 0 {
		at--
	}
	return fmt.Sprintf("%d,%d", at, lines)
}
