package client

import (
	"github.com/vouchsafe/vouchsafe/client/azuredevice"
	"github.com/vouchsafe/vouchsafe/client/ccadevice"
	"github.com/vouchsafe/vouchsafe/client/nitrodevice"
	"github.com/vouchsafe/vouchsafe/client/nvidiadevice"
	"github.com/vouchsafe/vouchsafe/client/snpdevice"
	"github.com/vouchsafe/vouchsafe/client/tdxdevice"
	"github.com/vouchsafe/vouchsafe/client/tokendevice"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
)

var (
	_ Collector = (*azuredevice.Device)(nil)
	_ Collector = (*ccadevice.Device)(nil)
	_ Collector = (*nitrodevice.Device)(nil)
	_ Collector = (*nvidiadevice.Device)(nil)
	_ Collector = (*snpdevice.Device)(nil)
	_ Collector = (*tdxdevice.Device)(nil)
	_ Collector = (*tokendevice.Device)(nil)
	_ Collector = (*virtualdevice.Device)(nil)
)
