package tdx

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// words are all that Intel's collateral can say, with the claims that say it.
var words = map[string]string{
	"UpToDate":                          "up-to-date",
	"SWHardeningNeeded":                 "sw-hardening-needed",
	"ConfigurationNeeded":               "configuration-needed",
	"ConfigurationAndSWHardeningNeeded": "configuration-and-sw-hardening-needed",
	"OutOfDate":                         "out-of-date",
	"OutOfDateConfigurationNeeded":      "out-of-date-configuration-needed",
	"Revoked":                           "revoked",
}

// converged are rows of platform, module, quoting enclave, and what they are together, written down from Intel's rules; see the documentation of
// package dcap.
var converged = [][4]string{
	{"UpToDate", "UpToDate", "UpToDate", "up-to-date"},
	{"SWHardeningNeeded", "UpToDate", "UpToDate", "sw-hardening-needed"},
	{"ConfigurationNeeded", "UpToDate", "UpToDate", "configuration-needed"},
	{"ConfigurationAndSWHardeningNeeded", "UpToDate", "UpToDate", "configuration-and-sw-hardening-needed"},
	{"OutOfDate", "UpToDate", "UpToDate", "out-of-date"},
	{"OutOfDateConfigurationNeeded", "UpToDate", "UpToDate", "out-of-date-configuration-needed"},
	{"Revoked", "UpToDate", "UpToDate", "revoked"},

	{"UpToDate", "OutOfDate", "UpToDate", "out-of-date"},
	{"SWHardeningNeeded", "OutOfDate", "UpToDate", "out-of-date"},
	{"ConfigurationNeeded", "OutOfDate", "UpToDate", "out-of-date-configuration-needed"},
	{"ConfigurationAndSWHardeningNeeded", "OutOfDate", "UpToDate", "out-of-date-configuration-needed"},
	{"OutOfDate", "OutOfDate", "UpToDate", "out-of-date"},
	{"OutOfDateConfigurationNeeded", "OutOfDate", "UpToDate", "out-of-date-configuration-needed"},
	{"Revoked", "OutOfDate", "UpToDate", "revoked"},
	{"UpToDate", "Revoked", "UpToDate", "revoked"},
	{"OutOfDate", "Revoked", "UpToDate", "revoked"},

	{"UpToDate", "UpToDate", "OutOfDate", "out-of-date"},
	{"SWHardeningNeeded", "UpToDate", "OutOfDate", "out-of-date"},
	{"ConfigurationNeeded", "UpToDate", "OutOfDate", "out-of-date-configuration-needed"},
	{"ConfigurationAndSWHardeningNeeded", "UpToDate", "OutOfDate", "out-of-date-configuration-needed"},
	{"OutOfDate", "UpToDate", "OutOfDate", "out-of-date"},
	{"OutOfDateConfigurationNeeded", "UpToDate", "OutOfDate", "out-of-date-configuration-needed"},
	{"Revoked", "UpToDate", "OutOfDate", "revoked"},
	{"UpToDate", "UpToDate", "Revoked", "revoked"},
	{"UpToDate", "OutOfDate", "Revoked", "revoked"},

	// Intel does not give modules and quoting enclaves these. They must not make the whole better than they are.
	{"UpToDate", "SWHardeningNeeded", "UpToDate", "sw-hardening-needed"},
	{"UpToDate", "ConfigurationNeeded", "UpToDate", "configuration-needed"},
	{"UpToDate", "UpToDate", "SWHardeningNeeded", "sw-hardening-needed"},
	{"UpToDate", "UpToDate", "ConfigurationNeeded", "configuration-needed"},
	{"SWHardeningNeeded", "UpToDate", "ConfigurationNeeded", "configuration-and-sw-hardening-needed"},
	{"UpToDate", "UpToDate", "OutOfDateConfigurationNeeded", "out-of-date-configuration-needed"},
}

// collateralSaying returns TCB info by which a module of TDX_03 with SVN 5 has a status, and the identity of the quoting enclave.
func collateralSaying(platform, module, qe string) (info, identity dcaptest.Object) {
	info = dcaptest.TCBInfo(dcap.TDX, platform)
	info["tcbLevels"].([]dcaptest.Object)[0]["advisoryIDs"] = []string{"INTEL-SA-00900"}
	info["tdxModuleIdentities"] = []dcaptest.Object{dcaptest.Module("TDX_03", dcaptest.EnclaveLevel(5, module, "INTEL-SA-00800", "INTEL-SA-00900"))}
	identity = dcaptest.Identity(dcap.TDX, qe)
	return info, identity
}

func checkStatus(t *testing.T, row [4]string, claims *attest.Claims, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%v: %v", row, err)
		return
	}
	in := claims.Intel
	if claims.TCBStatus != row[3] || in.LaunchTCBStatus != row[3] || in.Platform.Status != words[row[0]] || in.Module.Status != words[row[1]] ||
		in.QE.Status != words[row[2]] || !in.Platform.Listed || !in.Module.Listed || !in.QE.Listed {
		t.Errorf("%v: status %s, claims %+v, module %+v", row, claims.TCBStatus, in, in.Module)
	}
}

// TestConverged: each state at each of platform, module and quoting enclave, in a world of our own.
func TestConverged(t *testing.T) {
	s := goodSetup(t)
	q := s.quote(4, dcaptest.BodyTD10)
	q.Body[dcaptest.TDTCBSVN+1] = 3
	evidence := q.Bytes()
	for _, row := range converged {
		info, identity := collateralSaying(row[0], row[1], row[2])
		s.service.PutTCB(dcaptest.Shared(), dcap.TDX, s.machine, info)
		s.service.PutIdentity(dcaptest.Shared(), dcap.TDX, identity)
		claims, err := s.verify(t, evidence)
		checkStatus(t, row, claims, err)
		if err == nil && (!slices.Equal(claims.Intel.Advisories, []string{"INTEL-SA-00800", "INTEL-SA-00900"}) || claims.Intel.ModuleID != "TDX_03") {
			t.Errorf("%v: advisories %v", row, claims.Intel.Advisories)
		}
	}
}

// TestConvergedRealQuote is the same with a quote of real hardware, whose TDX module is of version 1, and collateral by the world's signer.
func TestConvergedRealQuote(t *testing.T) {
	quote := cosQuote(t)
	names, err := EndorsementNames(quote)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range converged {
		info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
		info["fmspc"] = strings.TrimPrefix(names[0], "intel/tcb/tdx/")
		info["tcbLevels"] = []dcaptest.Object{dcaptest.Level(dcap.TDX, 0, 0, row[0])}
		info["tdxModuleIdentities"] = []dcaptest.Object{dcaptest.Module("TDX_01", dcaptest.EnclaveLevel(4, row[1]))}
		v, _ := realWith(t, info, dcaptest.RecordedIdentity(row[2]))
		claims, err := v.Verify(t.Context(), attest.Input{Evidence: quote, Binding: attest.Unbound(), Time: time.Date(2024, 8, 1, 0, 0, 0, 0, time.UTC)})
		checkStatus(t, row, claims, err)
	}
}

// TestConvergedVector is the same with the shared quote, whose module the platform's level covers.
func TestConvergedVector(t *testing.T) {
	quote := vectors.Read(t, "tdx/quote-v4.dat")
	for _, row := range converged {
		if row[1] != "UpToDate" {
			continue
		}
		info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
		info["fmspc"] = "50806F000000"
		info["tcbLevels"] = []dcaptest.Object{dcaptest.Level(dcap.TDX, 0, 0, row[0])}
		v, s := realWith(t, info, dcaptest.RecordedIdentity(row[2]))
		s.Items["intel/tcb/tdx/50806f000000"] = s.Items["intel/tcb/tdx/50806F000000"] // names are lower-case
		claims, err := v.Verify(t.Context(), attest.Input{Evidence: quote, Binding: attest.Unbound(), Time: dcaptest.RecordedAt})
		if err != nil || claims.TCBStatus != row[3] || claims.Intel.Module != nil || !claims.Collateral.Current {
			t.Errorf("%v: %+v, %v", row, claims, err)
		}
	}
}

// intelConverge is the rule of Intel's library (QVL 4.1.2.5.1.5, convergeTcbStatuses) for components that are up to date, out of date or revoked.
func intelConverge(platform string, components ...string) string {
	if slices.Contains(components, "Revoked") {
		return "Revoked"
	}
	if slices.Contains(components, "OutOfDate") {
		switch platform {
		case "UpToDate", "SWHardeningNeeded":
			return "OutOfDate"
		case "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded":
			return "OutOfDateConfigurationNeeded"
		}
	}
	return platform
}

// TestConvergedAll goes through all combinations. Where Intel's library has a verdict it is ours; elsewhere ours is no better than any part.
func TestConvergedAll(t *testing.T) {
	s := goodSetup(t)
	q := s.quote(4, dcaptest.BodyTD10)
	q.Body[dcaptest.TDTCBSVN+1] = 3
	evidence := q.Bytes()
	trouble := func(claim string) (found []string) {
		for _, word := range []string{"revoked", "out-of-date", "configuration", "sw-hardening"} {
			if strings.Contains(claim, word) {
				found = append(found, word)
			}
		}
		return found
	}
	known := []string{"UpToDate", "OutOfDate", "Revoked"}
	for _, platform := range slices.Sorted(maps.Keys(words)) {
		for _, module := range slices.Sorted(maps.Keys(words)) {
			for _, qe := range slices.Sorted(maps.Keys(words)) {
				info, identity := collateralSaying(platform, module, qe)
				s.service.PutTCB(dcaptest.Shared(), dcap.TDX, s.machine, info)
				s.service.PutIdentity(dcaptest.Shared(), dcap.TDX, identity)
				claims, err := s.verify(t, evidence)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(known, module) && slices.Contains(known, qe) {
					if want := words[intelConverge(platform, module, qe)]; claims.TCBStatus != want {
						t.Errorf("%s, %s, %s: %s, want %s", platform, module, qe, claims.TCBStatus, want)
					}
					continue
				}
				have := trouble(claims.TCBStatus)
				for _, part := range []string{platform, module, qe} {
					for _, word := range trouble(words[part]) {
						// What is revoked says no more than that, and where it is out of date no word tells of hardening.
						if !slices.Contains(have, word) && have[0] != "revoked" && (word != "sw-hardening" || have[0] != "out-of-date") {
							t.Errorf("%s, %s, %s: %s", platform, module, qe, claims.TCBStatus)
						}
					}
				}
			}
		}
	}
}

// TestLevels finds the level of a platform.
func TestLevels(t *testing.T) {
	w := dcaptest.Shared()
	for name, test := range map[string]struct {
		pck    func(*dcap.PCK)
		td     func([]byte)
		info   func(dcaptest.Object)
		want   string
		listed bool
		status string // of the module
	}{
		"the highest":                      {want: "up-to-date", listed: true},
		"above the highest":                {pck: func(p *dcap.PCK) { p.TCB[7], p.PCESVN = 200, 65535 }, want: "up-to-date", listed: true},
		"a component below":                {pck: func(p *dcap.PCK) { p.TCB[15] = 4 }, want: "out-of-date", listed: true},
		"the first component below":        {pck: func(p *dcap.PCK) { p.TCB[0] = 4 }, want: "out-of-date", listed: true},
		"all above but one":                {pck: func(p *dcap.PCK) { *p = high(*p); p.TCB[8] = 3 }, want: "out-of-date", listed: true},
		"the PCE below":                    {pck: func(p *dcap.PCK) { p.PCESVN = 12 }, want: "out-of-date", listed: true},
		"a component far below":            {pck: func(p *dcap.PCK) { p.TCB[3] = 2 }, want: "revoked", listed: true},
		"below every level":                {pck: func(p *dcap.PCK) { p.TCB[3] = 0 }, want: "revoked"},
		"the PCE below every level":        {pck: func(p *dcap.PCK) { p.PCESVN = 4 }, want: "revoked"},
		"the module below":                 {td: func(b []byte) { b[0] = 4 }, want: "out-of-date", listed: true},
		"late microcode below":             {td: func(b []byte) { b[2] = 4 }, want: "out-of-date", listed: true},
		"the module below every level":     {td: func(b []byte) { b[0] = 0 }, want: "revoked"},
		"levels in another order":          {info: reverseLevels, want: "up-to-date", listed: true},
		"module 3":                         {td: func(b []byte) { b[1] = 3 }, want: "up-to-date", listed: true, status: "up-to-date"},
		"module 3 below":                   {td: func(b []byte) { b[0], b[1] = 4, 3 }, want: "out-of-date", listed: true, status: "out-of-date"},
		"module 3 below every level":       {td: func(b []byte) { b[0], b[1] = 2, 3 }, want: "revoked", listed: true, status: "revoked"},
		"module 1 revoked":                 {td: func(b []byte) { b[0], b[1] = 2, 1 }, want: "revoked", listed: true, status: "revoked"},
		"module 3, late microcode below":   {td: func(b []byte) { b[1], b[2] = 3, 4 }, want: "out-of-date", listed: true, status: "up-to-date"},
		"module 3, a good one, old PCE":    {td: func(b []byte) { b[1] = 3 }, pck: func(p *dcap.PCK) { p.PCESVN = 10 }, want: "out-of-date", listed: true, status: "up-to-date"},
		"module 3 with a level's module 0": {td: func(b []byte) { b[0], b[1] = 5, 3 }, info: func(o dcaptest.Object) { raise(o) }, want: "up-to-date", listed: true, status: "up-to-date"},
		"module 0 where the level has 200": {info: func(o dcaptest.Object) { raise(o) }, want: "out-of-date", listed: true},
		"identifiers in small letters": {td: func(b []byte) { b[1] = 3 }, info: func(o dcaptest.Object) {
			o["tdxModuleIdentities"] = []dcaptest.Object{dcaptest.Module("tdx_03", dcaptest.EnclaveLevel(1, "UpToDate"))}
		}, want: "up-to-date", listed: true, status: "up-to-date"},
	} {
		t.Run(name, func(t *testing.T) {
			pck := dcaptest.DefaultPCK()
			if test.pck != nil {
				test.pck(&pck)
			}
			info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
			if test.info != nil {
				test.info(info)
			}
			m := w.Machine(pck, nil)
			s := w.Service(dcap.TDX, m, info, dcaptest.Identity(dcap.TDX, "UpToDate"))
			q := w.Quote(m, 4, dcaptest.BodyTD10)
			if test.td != nil {
				test.td(q.Body[dcaptest.TDTCBSVN:])
			}
			claims, err := dcaptest.Verify(t, verifier(t, s, w.Roots()), q.Bytes(), dcaptest.Now)
			if err != nil {
				t.Fatal(err)
			}
			in := claims.Intel
			if claims.TCBStatus != test.want || in.Platform.Listed != test.listed || (in.Module != nil) != (test.status != "") ||
				in.Module != nil && in.Module.Status != test.status || in.Platform.Date.IsZero() == test.listed {
				t.Errorf("status %s, %+v, module %+v", claims.TCBStatus, in, in.Module)
			}
		})
	}
}

func high(p dcap.PCK) dcap.PCK {
	for i := range p.TCB {
		p.TCB[i] = 255
	}
	return p
}

func reverseLevels(info dcaptest.Object) { slices.Reverse(info["tcbLevels"].([]dcaptest.Object)) }

// raise makes the first level's number of the TDX module one that no module has.
func raise(info dcaptest.Object) {
	tcb := info["tcbLevels"].([]dcaptest.Object)[0]["tcb"].(dcaptest.Object)
	tcb["tdxtcbcomponents"].([]dcaptest.Object)[0] = dcaptest.Object{"svn": 200}
}

// TestUnknownModule: a module that the list does not have yet may be a good one.
func TestUnknownModule(t *testing.T) {
	s := goodSetup(t)
	for _, at := range []int{dcaptest.TDTCBSVN + 1, dcaptest.TDTCBSVN2 + 1} {
		q := s.quote(5, dcaptest.BodyTD15)
		q.Body[at] = 7
		_, err := s.verify(t, q.Bytes())
		if u := wantUnavailable(t, err); !strings.Contains(u.What, "version 7") {
			t.Errorf("what is missing: %s", u.What)
		}
	}
}

// TestRelaunch: TDX 1.5 says what it ran on at launch and what it runs on now.
func TestRelaunch(t *testing.T) {
	for name, test := range map[string]struct {
		platform    string
		launch, now [3]byte // SVN, version, late microcode
		want        string
		wantLaunch  string
		wantCurrent string
	}{
		"nothing changed":                     {"UpToDate", [3]byte{5, 3, 5}, [3]byte{5, 3, 5}, "up-to-date", "up-to-date", "up-to-date"},
		"updated":                             {"UpToDate", [3]byte{4, 3, 5}, [3]byte{5, 3, 5}, "td-relaunch-advised", "out-of-date", "up-to-date"},
		"updated, hardening":                  {"SWHardeningNeeded", [3]byte{4, 3, 5}, [3]byte{5, 3, 5}, "td-relaunch-advised", "out-of-date", "sw-hardening-needed"},
		"updated, configuration":              {"ConfigurationNeeded", [3]byte{4, 3, 5}, [3]byte{5, 3, 5}, "td-relaunch-advised-configuration-needed", "out-of-date-configuration-needed", "configuration-needed"},
		"updated, both":                       {"ConfigurationAndSWHardeningNeeded", [3]byte{4, 3, 5}, [3]byte{5, 3, 5}, "td-relaunch-advised-configuration-needed", "out-of-date-configuration-needed", "configuration-and-sw-hardening-needed"},
		"updated from version 0":              {"UpToDate", [3]byte{4, 0, 5}, [3]byte{5, 3, 5}, "td-relaunch-advised", "out-of-date", "up-to-date"},
		"late microcode was loaded":           {"UpToDate", [3]byte{5, 3, 4}, [3]byte{5, 3, 5}, "td-relaunch-advised", "out-of-date", "up-to-date"},
		"not enough of an update":             {"UpToDate", [3]byte{3, 3, 5}, [3]byte{4, 3, 5}, "out-of-date", "out-of-date", "out-of-date"},
		"platform out of date all the time":   {"OutOfDate", [3]byte{4, 3, 5}, [3]byte{5, 3, 5}, "out-of-date", "out-of-date", "out-of-date"},
		"revoked at launch":                   {"UpToDate", [3]byte{2, 1, 5}, [3]byte{5, 1, 5}, "revoked", "revoked", "up-to-date"},
		"revoked and out of date at launch":   {"UpToDate", [3]byte{2, 1, 4}, [3]byte{5, 1, 5}, "revoked", "revoked", "up-to-date"},
		"revoked now":                         {"UpToDate", [3]byte{5, 1, 5}, [3]byte{2, 1, 5}, "revoked", "up-to-date", "revoked"},
		"out of date now":                     {"UpToDate", [3]byte{5, 3, 5}, [3]byte{4, 3, 5}, "out-of-date", "up-to-date", "out-of-date"},
		"below every level at launch":         {"UpToDate", [3]byte{1, 3, 5}, [3]byte{5, 3, 5}, "revoked", "revoked", "up-to-date"},
		"out of date at launch, revoked now":  {"UpToDate", [3]byte{3, 1, 5}, [3]byte{2, 1, 5}, "revoked", "out-of-date", "revoked"},
		"configuration needed, not relaunch":  {"ConfigurationNeeded", [3]byte{5, 3, 5}, [3]byte{5, 3, 5}, "configuration-needed", "configuration-needed", "configuration-needed"},
		"out of date platform, config needed": {"OutOfDateConfigurationNeeded", [3]byte{5, 3, 5}, [3]byte{5, 3, 5}, "out-of-date-configuration-needed", "out-of-date-configuration-needed", "out-of-date-configuration-needed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t, dcaptest.TCBInfo(dcap.TDX, test.platform), dcaptest.Identity(dcap.TDX, "UpToDate"))
			q := s.quote(5, dcaptest.BodyTD15)
			copy(q.Body[dcaptest.TDTCBSVN:], test.launch[:])
			copy(q.Body[dcaptest.TDTCBSVN2:], test.now[:])
			claims, err := s.verify(t, q.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			in := claims.Intel
			if claims.TCBStatus != test.want || in.LaunchTCBStatus != test.wantLaunch || in.CurrentTCBStatus != test.wantCurrent || in.CurrentPlatform == nil {
				t.Errorf("status %s, at launch %s, now %s", claims.TCBStatus, in.LaunchTCBStatus, in.CurrentTCBStatus)
			}
			if strings.Contains(test.want, "relaunch") && test.launch[1] == 3 && test.launch[2] == 5 && !slices.Contains(in.Advisories, "INTEL-SA-00033") {
				t.Errorf("advisories %v", in.Advisories)
			}
		})
	}
}
