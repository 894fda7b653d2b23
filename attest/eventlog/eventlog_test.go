package eventlog

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-eventlog/extract"
	"github.com/google/go-eventlog/proto/state"
	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-eventlog/tpmeventlog"
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// realLogs are logs of real machines, from go-eventlog.
var realLogs = map[string][]byte{
	"arch-linux":      testdata.ArchLinuxWorkstationEventLog,
	"glinux":          testdata.GlinuxAlexEventLog,
	"rhel-8":          testdata.Rhel8EventLog,
	"ubuntu-18.04":    testdata.Ubuntu1804AmdSevEventLog,
	"ubuntu-21.04":    testdata.Ubuntu2104NoDbxEventLog,
	"ubuntu-24.04":    testdata.Ubuntu2404AmdSevSnpEventLog,
	"ubuntu-24.04-td": testdata.Ubuntu2404IntelTdxA4HighGpu8GEventLog,
	"cos-85":          testdata.Cos85AmdSevEventLog,
	"cos-93":          testdata.Cos93AmdSevEventLog,
	"cos-101":         testdata.Cos101AmdSevEventLog,
	"cos-121":         testdata.Cos121AmdSevEventLog,
	"cos-125-td":      testdata.Cos125IntelTdxSecureBootA4HighGpu8GEventLog,
}

func refused(t *testing.T, err error, code attest.Code) {
	t.Helper()
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("got %v, want a refusal with %s", err, code)
	}
}

// quoted returns the values of all PCRs on the machine that wrote a log.
func quoted(t testing.TB, log []byte, hash crypto.Hash) [][]byte {
	t.Helper()
	parsed, err := Parse(log)
	if err != nil {
		t.Fatal(err)
	}
	values, err := parsed.Replay(hash)
	if err != nil {
		t.Fatal(err)
	}
	pcrs := make([][]byte, maxPCR+1)
	for i := range pcrs {
		if pcrs[i] = values[i]; pcrs[i] == nil {
			pcrs[i] = make([]byte, hash.Size())
		}
	}
	return pcrs
}

// TestAgainstGoEventlog has another implementation replay each real log to our values and extract what we do.
func TestAgainstGoEventlog(t *testing.T) {
	for name, log := range realLogs {
		t.Run(name, func(t *testing.T) {
			pcrs := quoted(t, log, crypto.SHA256)
			bank := register.PCRBank{TCGHashAlgo: state.HashAlgo_SHA256}
			parsed, err := Parse(log)
			if err != nil {
				t.Fatal(err)
			}
			values, _ := parsed.Replay(crypto.SHA256)
			for pcr, value := range values {
				bank.PCRs = append(bank.PCRs, register.PCR{Index: pcr, Digest: value, DigestAlg: crypto.SHA256})
			}
			loader := extract.GRUB
			if len(values[8]) == 0 || name == "arch-linux" || name == "glinux" {
				loader = extract.UnsupportedLoader
			}
			theirs, err := tpmeventlog.ReplayAndExtract(log, bank, extract.Opts{Loader: loader, AllowEFIAppBeforeCallingEvent: true})
			ours, ourErr := Boot(log, crypto.SHA256, pcrs)
			if ourErr != nil {
				t.Fatal(ourErr)
			}
			if err != nil && theirs == nil {
				t.Fatalf("go-eventlog: %v", err)
			}
			if on := theirs.GetSecureBoot().GetEnabled(); ours.SecureBoot == nil || *ours.SecureBoot != on {
				t.Errorf("Secure Boot %v, go-eventlog %v", ours.SecureBoot, on)
			}
			if line := strings.TrimSuffix(theirs.GetLinuxKernel().GetCommandLine(), "\x00"); ours.CommandLine != line {
				t.Errorf("command line %q, go-eventlog %q", ours.CommandLine, line)
			}
			for _, app := range theirs.GetEfi().GetApps() {
				if !slices.Contains(ours.BootLoaders, hex.EncodeToString(app.GetDigest())) {
					t.Errorf("boot loader %x is missing", app.GetDigest())
				}
			}
		})
	}
}

// TestGolden holds the CCEL tables against the parses that come with them.
func TestGolden(t *testing.T) {
	for _, name := range []string{"grub", "ovmf"} {
		t.Run(name, func(t *testing.T) {
			log, err := Parse(vectors.Read(t, "eventlog/CCEL_data_"+name))
			if err != nil {
				t.Fatal(err)
			}
			var golden struct {
				Events []struct {
					Index   int    `json:"index"`
					Event   []byte `json:"event"`
					Digests []struct {
						Digest string `json:"digest"`
					} `json:"digests"`
				} `json:"uefi_event_logs"`
			}
			if err := json.Unmarshal(vectors.Read(t, "eventlog/CCEL_data_"+name+"_out.json"), &golden); err != nil {
				t.Fatal(err)
			}
			if len(golden.Events) != len(log.Events) {
				t.Fatalf("%d events, want %d", len(log.Events), len(golden.Events))
			}
			for i, want := range golden.Events {
				got := &log.Events[i]
				if got.PCR != want.Index || !bytes.Equal(got.Data, want.Event) ||
					hex.EncodeToString(log.Digest(got, crypto.SHA384)) != want.Digests[0].Digest {
					t.Errorf("event %d differs from the golden parse", i)
				}
			}
		})
	}
	if _, err := Parse(vectors.Read(t, "eventlog/CCEL_data_gcp")); err != nil {
		t.Error(err)
	}
}

func TestCover(t *testing.T) {
	log := testdata.Cos101AmdSevEventLog
	pcrs := func() [][]byte { return quoted(t, log, crypto.SHA256) }
	for _, pcr := range bootOnly {
		values := pcrs()
		values[pcr][0] ^= 1
		_, err := Boot(log, crypto.SHA256, values)
		refused(t, err, attest.CodeEventLog)
	}
	t.Run("a bank the log does not have", func(t *testing.T) {
		_, err := Boot(log, crypto.SHA512, pcrs())
		refused(t, err, attest.CodeEventLog)
	})
	t.Run("PCRs that nobody extended", func(t *testing.T) {
		_, err := Boot(log, crypto.SHA256, make([][]byte, 0))
		refused(t, err, attest.CodeEventLog)
	})
	t.Run("no log", func(t *testing.T) {
		_, err := Boot(nil, crypto.SHA256, pcrs())
		refused(t, err, attest.CodeMalformed)
	})
	t.Run("a header alone", func(t *testing.T) {
		_, err := Boot(newLog().bytes(), crypto.SHA256, pcrs())
		refused(t, err, attest.CodeEventLog)
	})
	t.Run("TPM 1.2", func(t *testing.T) {
		_, err := Parse(testdata.Debian10EventLog)
		refused(t, err, attest.CodeVersionUnsupported)
	})
	t.Run("too long", func(t *testing.T) {
		_, err := Parse(make([]byte, MaxLog+1))
		refused(t, err, attest.CodeTooLarge)
	})
}
