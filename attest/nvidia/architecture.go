package nvidia

import (
	"slices"
	"strings"
)

// Architecture is a family of devices, in the spelling of NVIDIA's tools.
type Architecture string

// The architectures that are verified.
const (
	Hopper    Architecture = "HOPPER"    // GPUs: H100, H200, GH200
	Blackwell Architecture = "BLACKWELL" // GPUs: B200 and relatives
	LS10      Architecture = "LS10"      // NVSwitch of the third generation
)

// Architectures returns those that are verified.
func Architectures() []Architecture { return []Architecture{Hopper, Blackwell, LS10} }

func (a Architecture) known() bool { return slices.Contains(Architectures(), a) }

// of returns the architecture of a chip as NVIDIA's certificates name it, such as GH100, GB100 or LS_10; "" where it is none that is
// verified.
func of(chip string) Architecture {
	digits := func(text string) bool { return len(text) == 3 && strings.Trim(text, "0123456789") == "" }
	if rest, ok := strings.CutPrefix(chip, "GH"); ok && digits(rest) {
		return Hopper
	}
	if rest, ok := strings.CutPrefix(chip, "GB"); ok && digits(rest) {
		return Blackwell
	}
	if chip == "LS_10" {
		return LS10
	}
	return ""
}

// gpu reports whether devices of a are GPUs; the others are switches.
func (a Architecture) gpu() bool { return a != LS10 }
