package dcap

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Versions of the collateral that is understood: that of Intel's PCS API version 4. Version 2 of TCB info says nothing of TDX.
const (
	tcbInfoVersion  = 3
	identityVersion = 2
)

// maxLevels bounds how many levels a list may have. Intel's have up to 20.
const maxLevels = 256

// tcbInfo is what Intel says of the platforms with one FMSPC, verified.
type tcbInfo struct {
	signer  *signer
	number  int // tcbEvaluationDataNumber: which edition of Intel's assessments it is from
	issued  time.Time
	next    time.Time
	levels  []tcbLevel
	module  *moduleIdentity          // of TDX modules of version 0; nil for SGX
	modules map[byte]*moduleIdentity // of later ones, by version
}

// tcbLevel is a level of the platform.
type tcbLevel struct {
	sgx, tdx [16]byte
	pceSVN   uint16
	verdict  verdict
}

// enclaveLevel is a level of the quoting enclave or of a TDX module.
type enclaveLevel struct {
	svn     uint16
	verdict verdict
}

// moduleIdentity is what a TDX module must be.
type moduleIdentity struct {
	id               string // "TDX_03"; "" for version 0
	mrSigner         [48]byte
	attributes, mask [8]byte
	levels           []enclaveLevel
}

// qeIdentity is what the quoting enclave must be, verified.
type qeIdentity struct {
	signer           *signer
	number           int
	issued           time.Time
	next             time.Time
	misc, miscMask   [4]byte
	attributes, mask [16]byte
	mrSigner         [32]byte
	productID        uint16
	levels           []enclaveLevel
}

// wire forms of the collateral.
type (
	wireTCBInfo struct {
		ID         string       `json:"id"`
		Version    int          `json:"version"`
		IssueDate  time.Time    `json:"issueDate"`
		NextUpdate time.Time    `json:"nextUpdate"`
		FMSPC      string       `json:"fmspc"`
		PCEID      string       `json:"pceId"`
		TCBType    int          `json:"tcbType"`
		Number     int          `json:"tcbEvaluationDataNumber"`
		Module     *wireModule  `json:"tdxModule"`
		Modules    []wireModule `json:"tdxModuleIdentities"`
		Levels     []wireLevel  `json:"tcbLevels"`
	}
	wireModule struct {
		ID             string      `json:"id"`
		MRSigner       string      `json:"mrsigner"`
		Attributes     string      `json:"attributes"`
		AttributesMask string      `json:"attributesMask"`
		Levels         []wireLevel `json:"tcbLevels"`
	}
	wireIdentity struct {
		ID             string      `json:"id"`
		Version        int         `json:"version"`
		IssueDate      time.Time   `json:"issueDate"`
		NextUpdate     time.Time   `json:"nextUpdate"`
		Number         int         `json:"tcbEvaluationDataNumber"`
		MiscSelect     string      `json:"miscselect"`
		MiscSelectMask string      `json:"miscselectMask"`
		Attributes     string      `json:"attributes"`
		AttributesMask string      `json:"attributesMask"`
		MRSigner       string      `json:"mrsigner"`
		ProductID      *uint16     `json:"isvprodid"`
		Levels         []wireLevel `json:"tcbLevels"`
	}
	wireLevel struct {
		TCB struct {
			SGX    []wireComponent `json:"sgxtcbcomponents"`
			TDX    []wireComponent `json:"tdxtcbcomponents"`
			PCESVN *uint16         `json:"pcesvn"`
			ISVSVN *uint16         `json:"isvsvn"`
		} `json:"tcb"`
		Date       time.Time `json:"tcbDate"`
		Status     string    `json:"tcbStatus"`
		Advisories []string  `json:"advisoryIDs"`
	}
	wireComponent struct {
		SVN      *uint8 `json:"svn"`
		Category string `json:"category"`
		Type     string `json:"type"`
	}
)

// parseTCBInfo reads the tcbInfo member of what Intel sends for platforms of tee with p's FMSPC and PCE.
func parseTCBInfo(body []byte, tee TEE, p *PCK) (*tcbInfo, error) {
	var w wireTCBInfo
	if err := strictjson.UnmarshalNewer(body, &w); err != nil {
		return nil, err
	}
	var fmspc [6]byte
	var pceID [2]byte
	switch {
	case w.ID != tee.collateralID():
		return nil, fmt.Errorf("TCB info for %.10q, not %q", w.ID, tee.collateralID())
	case w.Version != tcbInfoVersion:
		return nil, fmt.Errorf("TCB info of version %d: only %d is understood", w.Version, tcbInfoVersion)
	case w.TCBType != 0:
		return nil, fmt.Errorf("TCB info of type %d: only 0 is understood", w.TCBType)
	case w.NextUpdate.IsZero() || w.IssueDate.IsZero():
		return nil, errors.New("TCB info without its dates")
	}
	if err := errors.Join(unhex(w.FMSPC, fmspc[:]), unhex(w.PCEID, pceID[:])); err != nil {
		return nil, err
	}
	if fmspc != p.FMSPC || pceID != p.PCEID {
		return nil, fmt.Errorf("TCB info for FMSPC %x and PCE %x, not %x and %x", fmspc, pceID, p.FMSPC, p.PCEID)
	}
	info := &tcbInfo{number: w.Number, issued: w.IssueDate, next: w.NextUpdate, modules: map[byte]*moduleIdentity{}}
	if err := info.parseModules(&w, tee); err != nil {
		return nil, err
	}
	if len(w.Levels) == 0 || len(w.Levels) > maxLevels {
		return nil, fmt.Errorf("TCB info of %d levels: 1 to %d are possible", len(w.Levels), maxLevels)
	}
	for i := range w.Levels {
		level, err := w.Levels[i].platform(tee)
		if err != nil {
			return nil, fmt.Errorf("level %d of the TCB info: %w", i, err)
		}
		info.levels = append(info.levels, level)
	}
	// The highest first, as Intel's library sorts them and Intel sends them.
	slices.SortStableFunc(info.levels, func(a, b tcbLevel) int {
		return cmp.Or(bytes.Compare(b.sgx[:], a.sgx[:]), cmp.Compare(b.pceSVN, a.pceSVN), bytes.Compare(b.tdx[:], a.tdx[:]))
	})
	for i := 1; i < len(info.levels); i++ {
		a, b := &info.levels[i-1], &info.levels[i]
		if a.sgx == b.sgx && a.pceSVN == b.pceSVN && a.tdx == b.tdx {
			return nil, errors.New("TCB info with the same level twice")
		}
	}
	return info, nil
}

func (info *tcbInfo) parseModules(w *wireTCBInfo, tee TEE) error {
	if tee == SGX {
		if w.Module != nil || w.Modules != nil {
			return errors.New("TCB info for SGX with TDX modules")
		}
		return nil
	}
	if w.Module == nil {
		return errors.New("TCB info for TDX without the TDX module")
	}
	var err error
	if info.module, err = w.Module.parse(); err != nil {
		return fmt.Errorf("the TDX module: %w", err)
	}
	for i := range w.Modules {
		m := &w.Modules[i]
		var version [1]byte
		digits, ok := strings.CutPrefix(strings.ToUpper(m.ID), "TDX_")
		if !ok || unhex(digits, version[:]) != nil {
			return fmt.Errorf("a TDX module of the identifier %.20q", m.ID)
		}
		if info.modules[version[0]] != nil {
			return fmt.Errorf("the TDX module %.20q is there twice", m.ID)
		}
		module, err := m.parse()
		if err == nil {
			module.id = "TDX_" + digits
			module.levels, err = enclaveLevels(m.Levels)
		}
		if err != nil {
			return fmt.Errorf("the TDX module %.20q: %w", m.ID, err)
		}
		info.modules[version[0]] = module
	}
	return nil
}

func (w *wireModule) parse() (*moduleIdentity, error) {
	m := new(moduleIdentity)
	return m, errors.Join(unhex(w.MRSigner, m.mrSigner[:]), unhex(w.Attributes, m.attributes[:]), unhex(w.AttributesMask, m.mask[:]))
}

// parseIdentity reads the enclaveIdentity member of what Intel sends for the quoting enclave of tee.
func parseIdentity(body []byte, tee TEE) (*qeIdentity, error) {
	var w wireIdentity
	if err := strictjson.UnmarshalNewer(body, &w); err != nil {
		return nil, err
	}
	id := "QE"
	if tee == TDX {
		id = "TD_QE"
	}
	switch {
	case w.ID != id:
		return nil, fmt.Errorf("the identity of %.10q, not %q", w.ID, id)
	case w.Version != identityVersion:
		return nil, fmt.Errorf("an identity of version %d: only %d is understood", w.Version, identityVersion)
	case w.NextUpdate.IsZero() || w.IssueDate.IsZero():
		return nil, errors.New("an identity without its dates")
	case w.ProductID == nil:
		return nil, errors.New("an identity without isvprodid")
	}
	q := &qeIdentity{number: w.Number, issued: w.IssueDate, next: w.NextUpdate, productID: *w.ProductID}
	err := errors.Join(unhex(w.MiscSelect, q.misc[:]), unhex(w.MiscSelectMask, q.miscMask[:]), unhex(w.Attributes, q.attributes[:]),
		unhex(w.AttributesMask, q.mask[:]), unhex(w.MRSigner, q.mrSigner[:]))
	if err != nil {
		return nil, err
	}
	q.levels, err = enclaveLevels(w.Levels)
	return q, err
}

// platform reads a level of TCB info.
func (w *wireLevel) platform(tee TEE) (l tcbLevel, err error) {
	if w.TCB.PCESVN == nil {
		return l, errors.New("pcesvn is missing")
	}
	l.pceSVN = *w.TCB.PCESVN
	if err := components(w.TCB.SGX, l.sgx[:]); err != nil {
		return l, fmt.Errorf("sgxtcbcomponents: %w", err)
	}
	if tee == TDX {
		if err := components(w.TCB.TDX, l.tdx[:]); err != nil {
			return l, fmt.Errorf("tdxtcbcomponents: %w", err)
		}
	}
	l.verdict, err = w.verdict()
	return l, err
}

func components(from []wireComponent, to []byte) error {
	if len(from) != len(to) {
		return fmt.Errorf("%d of them, not %d", len(from), len(to))
	}
	for i := range from {
		if from[i].SVN == nil {
			return fmt.Errorf("number %d has no svn", i+1)
		}
		to[i] = *from[i].SVN
	}
	return nil
}

// enclaveLevels reads the levels of a quoting enclave or TDX module, the highest first.
func enclaveLevels(from []wireLevel) ([]enclaveLevel, error) {
	if len(from) == 0 || len(from) > maxLevels {
		return nil, fmt.Errorf("%d levels: 1 to %d are possible", len(from), maxLevels)
	}
	var levels []enclaveLevel
	for i := range from {
		if from[i].TCB.ISVSVN == nil {
			return nil, fmt.Errorf("level %d has no isvsvn", i)
		}
		v, err := from[i].verdict()
		if err != nil {
			return nil, fmt.Errorf("level %d: %w", i, err)
		}
		levels = append(levels, enclaveLevel{*from[i].TCB.ISVSVN, v})
	}
	slices.SortStableFunc(levels, func(a, b enclaveLevel) int { return cmp.Compare(b.svn, a.svn) })
	for i := 1; i < len(levels); i++ {
		if levels[i-1].svn == levels[i].svn {
			return nil, fmt.Errorf("the level %d is there twice", levels[i].svn)
		}
	}
	return levels, nil
}

func (w *wireLevel) verdict() (verdict, error) {
	s, known := statuses[w.Status]
	if !known {
		return verdict{}, fmt.Errorf("the status %.40q is not known", w.Status)
	}
	if w.Date.IsZero() {
		return verdict{}, errors.New("tcbDate is missing")
	}
	advisories := slices.Clone(w.Advisories)
	slices.Sort(advisories)
	return verdict{part: true, listed: true, status: s, date: w.Date.UTC(), advisories: slices.Compact(advisories)}, nil
}

// reached returns the verdict of the highest level that svn reaches.
func reached(levels []enclaveLevel, svn uint16) verdict {
	for i := range levels {
		if svn >= levels[i].svn {
			return levels[i].verdict
		}
	}
	return unlisted
}

func (m *moduleIdentity) verdict(svn uint16) verdict { return reached(m.levels, svn) }
func (q *qeIdentity) verdict(svn uint16) verdict     { return reached(q.levels, svn) }

// moduleOf returns the identity of the TDX module with svn. One that Intel's list does not have yet cannot be judged now.
func (info *tcbInfo) moduleOf(svn [16]byte) (*moduleIdentity, error) {
	if svn[1] == 0 {
		return info.module, nil
	}
	if m := info.modules[svn[1]]; m != nil {
		return m, nil
	}
	return nil, &attest.Unavailable{What: fmt.Sprintf("Intel's identity of the TDX module of version %d", svn[1])}
}

// check holds the module that measured a TD against its identity. It refuses with CodeIdentity.
func (m *moduleIdentity) check(t *TDReport) error {
	if t.MRSignerSEAM != m.mrSigner {
		return attest.Refuse(attest.CodeIdentity, "the TDX module was signed by %x, not %x", t.MRSignerSEAM, m.mrSigner)
	}
	// The mask is not applied alone: no attribute of a module is defined, and Intel's library refuses any.
	if t.SEAMAttributes != m.attributes || !allZero(t.SEAMAttributes[:]) {
		return attest.Refuse(attest.CodeIdentity, "the TDX module has the attributes %x, not %x", t.SEAMAttributes, m.attributes)
	}
	return nil
}

// check holds the quoting enclave against its identity. It refuses with CodeIdentity.
func (q *qeIdentity) check(e *EnclaveReport) error {
	mismatch := func(format string, args ...any) error {
		return attest.Refuse(attest.CodeIdentity, "the quoting enclave "+format, args...)
	}
	attributes := e.Attributes()
	switch {
	case e.MRSigner != q.mrSigner:
		return mismatch("was signed by %x, not %x", e.MRSigner, q.mrSigner)
	case e.ProductID != q.productID:
		return mismatch("is product %d, not %d", e.ProductID, q.productID)
	case !masked(e.MiscSelect[:], q.miscMask[:], q.misc[:]):
		return mismatch("has the MISCSELECT %x, not %x under %x", e.MiscSelect, q.misc, q.miscMask)
	case !masked(attributes[:], q.mask[:], q.attributes[:]):
		return mismatch("has the ATTRIBUTES %x, not %x under %x", attributes, q.attributes, q.mask)
	}
	return nil
}

// masked reports whether have is want in the bits of mask.
func masked(have, mask, want []byte) bool {
	for i := range have {
		if have[i]&mask[i] != want[i] {
			return false
		}
	}
	return true
}

// unhex reads hex of exactly the length of to.
func unhex(text string, to []byte) error {
	if hex.DecodedLen(len(text)) != len(to) || len(text)%2 != 0 {
		return fmt.Errorf("%.100q is not hex of %d bytes", text, len(to))
	}
	if _, err := hex.Decode(to, []byte(text)); err != nil {
		return fmt.Errorf("%.100q is not hex of %d bytes", text, len(to))
	}
	return nil
}
