package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/vouchsafe/vouchsafe/attest"
)

// supported are the kinds that an agent with all collectors can collect.
var supported = []attest.Kind{attest.SNP, attest.TDX, attest.AzSNPvTPM, attest.AzTDXvTPM, attest.Nitro, attest.CCA, attest.TPM, attest.NVIDIA, attest.Token}

var errnos = map[string]syscall.Errno{
	"ENOENT": syscall.ENOENT, "EACCES": syscall.EACCES, "EPERM": syscall.EPERM, "EROFS": syscall.EROFS, "ENXIO": syscall.ENXIO,
}

// layOut makes a machine of an archive. Files are files of the machine, but for those without a / in their names:
//
//	provider    the driver behind configfs-tsm, or the error that the kernel gives; ENOENT when absent
//	paravisor   the kind that a paravisor's TPM can make; ENOENT when absent
//	log         the kernel's log, or the error
//	open        lines "PATH ERROR": what this process may not open. It may open every other file that there is
//	gpu-program what is wrong with the program that asks GPUs for evidence; nothing when absent
//	run ARGS    what a program prints; every other one cannot be run
//	supported   the kinds that the caller can collect; those of supported when absent
//	want        what the diagnosis is
func layOut(t *testing.T, archive *txtar.Archive) Machine {
	t.Helper()
	files := fstest.MapFS{}
	special := map[string]string{"provider": "ENOENT", "paravisor": "ENOENT"}
	for _, file := range archive.Files {
		if strings.HasPrefix(file.Name, "/") {
			files[strings.TrimPrefix(file.Name, "/")] = &fstest.MapFile{Data: file.Data}
			continue
		}
		special[file.Name] = strings.TrimSpace(string(file.Data))
	}
	refused := map[string]error{}
	for line := range strings.Lines(special["open"]) {
		path, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		errno, known := errnos[name]
		if !known {
			t.Fatalf("open: %q", line)
		}
		refused[path] = &fs.PathError{Op: "open", Path: path, Err: errno}
	}
	say := func(name string) (string, error) {
		if errno, found := errnos[special[name]]; found {
			return "", fmt.Errorf("asking: %w", errno)
		}
		return special[name], nil
	}
	return Machine{
		Root: files,
		Open: func(path string, _ bool) error {
			if err := refused[path]; err != nil {
				return err
			}
			_, err := fs.Stat(files, relative(path))
			return err
		},
		Provider: func(context.Context) (string, error) { return say("provider") },
		Paravisor: func(context.Context) (attest.Kind, error) {
			kind, err := say("paravisor")
			return attest.Kind(kind), err
		},
		Log: func() (string, error) { return say("log") },
		GPUProgram: func() error {
			if wrong := special["gpu-program"]; wrong != "" {
				return errors.New(wrong)
			}
			return nil
		},
		Run: func(_ context.Context, name string, args ...string) (string, error) {
			output, found := special["run "+strings.Join(append([]string{name}, args...), " ")]
			if !found {
				return "", os.ErrNotExist
			}
			return output, nil
		},
	}
}

// collectable returns the kinds that the caller can collect.
func collectable(archive *txtar.Archive) []attest.Kind {
	for _, file := range archive.Files {
		if file.Name == "supported" {
			var kinds []attest.Kind
			for name := range strings.FieldsSeq(string(file.Data)) {
				kinds = append(kinds, attest.Kind(name))
			}
			return kinds
		}
	}
	return supported
}

// summary is a report as tests state it.
func summary(r *Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", r.Mode, r.OK)
	for _, kind := range append([]attest.Kind{r.Kind}, r.Devices...) {
		if kind != "" {
			fmt.Fprintf(&b, " %s", kind)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.Verdict)
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s\n", f.Severity, f.ID)
	}
	return b.String()
}

// TestMachines diagnoses every machine in testdata. VOUCHSAFE_UPDATE=1 writes what it finds into them.
func TestMachines(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 30 {
		t.Fatalf("%d machines, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m := layOut(t, archive)
			var r *Report
			if strings.HasPrefix(filepath.Base(path), "host-") {
				r = Host(t.Context(), m)
			} else {
				r = Guest(t.Context(), m, collectable(archive)...)
			}
			check(t, r)
			got := summary(r)
			for i, file := range archive.Files {
				if file.Name != "want" {
					continue
				}
				if os.Getenv("VOUCHSAFE_UPDATE") == "1" {
					archive.Files[i].Data = []byte(got)
					if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				if got != string(file.Data) {
					t.Errorf("found\n%s\nnot\n%s", got, file.Data)
				}
				return
			}
			t.Error("the archive does not say what is wanted")
		})
	}
}

// check holds a report against what is promised of all.
func check(t *testing.T, r *Report) {
	t.Helper()
	rank := map[Severity]int{Problem: 0, Warning: 1, Note: 2, OK: 3}
	seen, last := map[string]bool{}, 0
	for _, f := range r.Findings {
		at, known := rank[f.Severity]
		if !known || at < last {
			t.Errorf("%s: severity %q out of order", f.ID, f.Severity)
		}
		last = at
		if seen[f.ID] {
			t.Errorf("%s is there twice", f.ID)
		}
		seen[f.ID] = true
		if f.ID == "" || f.Title == "" || strings.HasSuffix(f.Title, ".") {
			t.Errorf("%s: title %q", f.ID, f.Title)
		}
		if f.Detail != "" && !strings.HasSuffix(f.Detail, ".") && !strings.Contains(f.Detail, "--device") && !strings.HasSuffix(f.Detail, ":") {
			t.Errorf("%s: detail %q", f.ID, f.Detail)
		}
		if (f.Severity == Problem) && r.OK {
			t.Errorf("%s is a problem, and the report is OK", f.ID)
		}
	}
	if !r.OK && r.first() == nil {
		t.Error("it is not OK, and nothing says why")
	}
	if r.OK && r.Mode == "guest" && r.Kind == "" {
		t.Error("it can attest itself, and with nothing")
	}
	var b bytes.Buffer
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), unicode.IsControl) {
			t.Errorf("it prints control characters: %q", line)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// TestNothingKnown: a machine of which nothing is known is no good one.
func TestNothingKnown(t *testing.T) {
	r := Guest(t.Context(), Machine{Root: fstest.MapFS{}}, supported...)
	check(t, r)
	if r.OK || r.Kind != "" {
		t.Errorf("%+v", r)
	}
	if r = Host(t.Context(), Machine{Root: fstest.MapFS{}}); r.OK {
		t.Errorf("%+v", r)
	}
}

// TestSupported: what the program cannot collect is no way to attest a machine.
func TestSupported(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/guest-snp.txtar")
	if err != nil {
		t.Fatal(err)
	}
	r := Guest(t.Context(), layOut(t, archive), attest.TDX)
	check(t, r)
	if r.OK || r.Findings[0].ID != "agent.kind" {
		t.Errorf("%+v", r)
	}
}

// TestHostileText: what whoever runs the machine chose steers no terminal and fills no screen.
func TestHostileText(t *testing.T) {
	hostile := "\x1b[2J\r\nOK everything is fine " + strings.Repeat("x", 10000)
	for _, name := range []string{"provider", "log", "/proc/sys/kernel/osrelease", "/run/systemd/container",
		"/sys/devices/system/cpu/sev/vmpl", "/proc/cpuinfo"} {
		for _, mode := range []string{"guest", "host"} {
			archive := &txtar.Archive{Files: []txtar.File{
				{Name: "/sys/devices/platform/sev-guest"}, {Name: "/sys/class/dmi/id/product_name", Data: []byte(hostile)},
				{Name: name, Data: []byte(hostile)},
			}}
			switch name {
			case "log":
				archive.Files[2].Data = []byte("SEV-SNP API:1.55 " + hostile + "\nvirt/tdx: TDX module version: " + hostile + "\nSEV-SNP enabled (ASIDs " + hostile)
			case "/proc/cpuinfo":
				archive.Files[2].Data = []byte("vendor_id : " + hostile)
			}
			m := layOut(t, archive)
			var r *Report
			if mode == "guest" {
				r = Guest(t.Context(), m, supported...)
			} else {
				r = Host(t.Context(), m)
			}
			check(t, r)
			var b bytes.Buffer
			if err := r.Print(&b); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(b.String(), "\nOK everything") || b.Len() > 10000 {
				t.Errorf("%s, %s:\n%.2000s", mode, name, b.String())
			}
		}
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]version{
		"6.18.44-fc": {6, 18}, "6.7": {6, 7}, "5.19.0-1025-azure": {5, 19}, "1.55 build:24": {1, 55}, "7": {7, 0}, "": {}, "x.y": {}, "99999999999999999999.1": {0, 1},
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if !(version{6, 7}).before(version{6, 11}) || (version{6, 11}).before(version{6, 11}) || (version{7, 0}).before(version{6, 11}) {
		t.Error("versions are compared wrongly")
	}
}
