package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vouchsafe/vouchsafe/attest"
)

// Machine is what is looked at. Root is needed; of what is nil, nothing is known.
type Machine struct {
	// Root is the file system, rooted at /.
	Root fs.FS
	// Open says whether this process may open a file for reading, or for reading and writing: nil, or the kernel's error.
	Open func(path string, write bool) error
	// Provider returns the driver behind configfs-tsm, as the kernel names it. See package tsm.
	Provider func(ctx context.Context) (string, error)
	// Paravisor returns the kind of evidence that a paravisor's TPM can make of the machine, such as that of a confidential VM of Azure,
	// or an error when there is no such. It is asked where the kernel's log does not say.
	Paravisor func(ctx context.Context) (attest.Kind, error)
	// Log returns the kernel's log since the machine was started, as far as it is kept.
	Log func() (string, error)
	// Run runs a program, of those named nvidia-smi, and returns its standard output.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// GPUProgram says whether what asks GPUs for evidence can be run, nil or why not. It is asked where there are GPUs that have some to give;
	// taken to be there when it is nil.
	GPUProgram func() error
}

// How much of a file is read, in bytes. A kernel's configuration has some 300 KB.
const maxFile = 1 << 20

// machine is a Machine with what nearly every check asks for.
type machine struct {
	Machine
	ctx context.Context

	cpu       map[string]bool // flags
	vendor    string          // of the processor
	kernel    version
	release   string // of the kernel, as it calls itself
	log       string
	logErr    error
	container string // what kind of, or ""
}

// version is that of a kernel or a firmware.
type version struct{ major, minor int }

func (v version) before(other version) bool {
	return v.major < other.major || v.major == other.major && v.minor < other.minor
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// parseVersion reads the two numbers that a text begins with; what it cannot read is 0.0.
func parseVersion(text string) version {
	number := func(s string) int {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end >= 0 {
			s = s[:end]
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0
		}
		return n
	}
	major, rest, _ := strings.Cut(text, ".")
	return version{number(major), number(rest)}
}

// errUnknown is what is known where there is nothing to ask.
var errUnknown = errors.New("not known")

func newMachine(ctx context.Context, m Machine) *machine {
	if m.Open == nil {
		m.Open = func(string, bool) error { return errUnknown }
	}
	if m.Provider == nil {
		m.Provider = func(context.Context) (string, error) { return "", errUnknown }
	}
	if m.Paravisor == nil {
		m.Paravisor = func(context.Context) (attest.Kind, error) { return "", errUnknown }
	}
	if m.Log == nil {
		m.Log = func() (string, error) { return "", errUnknown }
	}
	if m.Run == nil {
		m.Run = func(context.Context, string, ...string) (string, error) { return "", errUnknown }
	}
	if m.GPUProgram == nil {
		m.GPUProgram = func() error { return nil }
	}
	l := &machine{Machine: m, ctx: ctx, cpu: map[string]bool{}}
	l.readCPU()
	l.release = l.text("/proc/sys/kernel/osrelease")
	l.kernel = parseVersion(l.release)
	l.log, l.logErr = m.Log()
	l.container = l.findContainer()
	return l
}

// text returns the content of a file without the white space around it, or "" when it cannot be read.
func (m *machine) text(path string) string {
	file, err := m.Root.Open(relative(path))
	if err != nil {
		return ""
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// has reports whether there is a file or folder.
func (m *machine) has(path string) bool {
	_, err := fs.Stat(m.Root, relative(path))
	return err == nil
}

// any returns the first of several paths that there is, or "".
func (m *machine) any(paths ...string) string {
	for _, path := range paths {
		if m.has(path) {
			return path
		}
	}
	return ""
}

// list returns the names in a folder.
func (m *machine) list(path string) []string {
	entries, err := fs.ReadDir(m.Root, relative(path))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names
}

func relative(path string) string { return strings.TrimPrefix(path, "/") }

// logged reports whether the kernel's log has a text in it.
func (m *machine) logged(text string) bool { return strings.Contains(m.log, text) }

// afterLogged returns what follows a text in its line of the log, or "".
func (m *machine) afterLogged(text string) string {
	_, rest, found := strings.Cut(m.log, text)
	if !found {
		return ""
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// readCPU reads the first processor; all are alike.
func (m *machine) readCPU() {
	for line := range strings.Lines(m.text("/proc/cpuinfo")) {
		name, value, found := strings.Cut(line, ":")
		if !found {
			if strings.TrimSpace(line) == "" {
				return
			}
			continue
		}
		switch strings.TrimSpace(name) {
		case "flags", "Features":
			for flag := range strings.FieldsSeq(value) {
				m.cpu[flag] = true
			}
		case "vendor_id":
			m.vendor = strings.TrimSpace(value)
		case "CPU implementer":
			m.vendor = "ARM"
		}
	}
}

// findContainer names what this process is contained in, or returns "".
func (m *machine) findContainer() string {
	switch {
	case m.has("/var/run/secrets/kubernetes.io"), m.has("/run/secrets/kubernetes.io"):
		return "a Kubernetes pod"
	case m.has("/run/.containerenv"):
		return "a Podman container"
	case m.has("/.dockerenv"):
		return "a Docker container"
	}
	for _, runtime := range []string{"kubepods", "docker", "containerd", "libpod", "lxc"} {
		if strings.Contains(m.text("/proc/1/cgroup"), runtime) {
			return "a container (" + runtime + ")"
		}
	}
	if name := m.text("/run/systemd/container"); name != "" {
		return fmt.Sprintf("a container (%.32q)", name)
	}
	return ""
}

// mounted reports whether a file system of a type is mounted at a path.
func (m *machine) mounted(kind, path string) bool {
	for line := range strings.Lines(m.text("/proc/self/mounts")) {
		fields := strings.Fields(line)
		if len(fields) > 2 && fields[1] == path && fields[2] == kind {
			return true
		}
	}
	return false
}

// config returns how the kernel was built: "y", "m" or "n"; "" when that is not known.
func (m *machine) config(option string) string {
	text := m.text("/boot/config-" + m.release)
	if text == "" {
		return ""
	}
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), option+"="); found {
			return value
		}
	}
	return "n"
}

// booted reports whether the kernel's command line has an option.
func (m *machine) booted(option string) bool {
	return slices.Contains(strings.Fields(m.text("/proc/cmdline")), option)
}

// Clouds, by what the firmware says.
const (
	azure  = "Microsoft Azure"
	google = "Google Cloud"
	amazon = "Amazon EC2"
)

// cloud names whose machine this is, or returns "". The chassis tag is one that all machines of Azure have, and those of Hyper-V elsewhere
// do not.
func (m *machine) cloud() string {
	dmi := func(name string) string { return m.text("/sys/class/dmi/id/" + name) }
	switch {
	case dmi("chassis_asset_tag") == "7783-7084-3265-9085-8269-3286-77":
		return azure
	case dmi("product_name") == "Google Compute Engine":
		return google
	case strings.Contains(dmi("sys_vendor"), "Amazon EC2"):
		return amazon
	}
	return ""
}

// denied reports whether an error says that this process may not, where another may: a container often has /sys read-only.
func denied(err error) bool { return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) }
