package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is that of the module, as the build recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// built is what "vouchsafe version" prints.
type built struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified"` // built from files that were not committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", GroupID: "offline", Short: "Print the program's version and how it was built", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := built{Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					switch s.Key {
					case "vcs.revision":
						b.Commit = s.Value
					case "vcs.modified":
						b.Modified = s.Value == "true"
					}
				}
			}
			if p.json() {
				return p.printJSON(b)
			}
			text := fmt.Sprintf("vouchsafe %s, %s, %s", b.Version, b.Go, b.Platform)
			if b.Commit != "" {
				text += ", commit " + b.Commit
			}
			if b.Modified {
				text += " with changes"
			}
			_, err := fmt.Fprintln(p.out, text)
			return err
		},
	}
}
