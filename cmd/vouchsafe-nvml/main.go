// Command vouchsafe-nvml asks NVIDIA's driver for the evidence of all GPUs of a machine and prints it, as KBS clients write it. It is a
// program of its own because the driver's library, libnvidia-ml.so.1 (NVML), is a shared one that has to be loaded, and everything else
// of the project is linked statically: it uses the dynamic linker without cgo. Package client/nvidiadevice runs it.
//
//	vouchsafe-nvml [-library FILE] NONCE
//
// Without -library it is the one that the dynamic linker finds, and where there is none, as in many containers and on NixOS, the one in a
// folder where the driver is mounted there.
//
// NONCE are 32 bytes in hex. The answer is {"device_evidence_list":[{"arch","uuid","evidence","certificate"},…]} on standard output. It
// exits with 1 and a message on standard error, and prints nothing else, when there is no GPU, more than 16, one of an architecture
// that is not verified, or one that does not report: evidence of some of the GPUs would pass for that of all. Switches are not asked:
// NVML does not know them.
package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// nonceSize is the size of a nonce, in bytes.
const nonceSize = 32

// maxDevices is how many devices are verified together.
const maxDevices = 16

// evidence is what is printed of one GPU.
type evidence struct {
	Architecture string `json:"arch"`
	UUID         string `json:"uuid"`
	Report       string `json:"evidence"`
	Certificate  string `json:"certificate"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "vouchsafe-nvml:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("vouchsafe-nvml", flag.ContinueOnError)
	flags.SetOutput(stderr)
	library := flags.String("library", "", "the driver's library, a name for the dynamic linker or a path; looked for when not given")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: vouchsafe-nvml [-library FILE] NONCE\nPrints the evidence of all NVIDIA GPUs of this machine. "+
			"NONCE are 32 bytes in hex. vouchsafe-agent runs it, for --device nvidia.")
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	nonce, err := hex.DecodeString(flags.Arg(0))
	if err != nil || len(nonce) != nonceSize || flags.NArg() != 1 {
		return fmt.Errorf("one argument is needed: a nonce of %d bytes in hex", nonceSize)
	}
	candidates := libraries()
	if *library != "" {
		candidates = []string{*library}
	}
	lib, err := load(candidates...)
	if err != nil {
		return err
	}
	list, err := collect(lib, [nonceSize]byte(nonce))
	if err != nil {
		return errors.Join(err, lib.close())
	}
	if err := lib.close(); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(map[string]any{"device_evidence_list": list})
}

// collect asks every GPU for a report on nonce.
func collect(lib *nvml, nonce [nonceSize]byte) ([]evidence, error) {
	count, err := lib.count()
	if err != nil {
		return nil, err
	}
	if count == 0 || count > maxDevices {
		return nil, fmt.Errorf("%d GPUs: evidence is of 1 to %d", count, maxDevices)
	}
	list := make([]evidence, count)
	for i := range list {
		if list[i], err = lib.evidence(uint32(i), nonce); err != nil {
			return nil, fmt.Errorf("GPU %d: %w", i, err)
		}
	}
	return list, nil
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
