package rim_test

import (
	"os"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/rim"
)

func TestReal(t *testing.T) {
	text, err := os.ReadFile("../roots/manifest.pem")
	if err != nil {
		t.Fatal(err)
	}
	root, err := pki.Root(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"NV_GPU_DRIVER_GH100_550.90.07.xml", "NV_GPU_VBIOS_1010_0200_882_96009F0001.xml"} {
		doc, err := os.ReadFile("testdata/" + n)
		if err != nil {
			t.Fatal(err)
		}
		m, err := rim.Open(doc, root)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(m.Product, m.Version, len(m.Measurements), m.Chain.NotBefore, m.Chain.NotAfter)
	}
}
