package vault

import "strings"

// Right is one path of Vault and what a token must be allowed to do there, in the words of Vault's policies.
type Right struct {
	Path         string
	Capabilities []string
}

// Rights returns what a broker's token needs for a store and nothing more. To create a store takes the right to update MOUNT/config besides, unless the
// engine keeps one version already. Where the mount is disabled and enabled again they hold as before.
func Rights(mount, prefix string) []Right {
	mount = strings.Trim(mount, "/")
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return []Right{
		{mount + "/data/" + prefix + "/*", []string{"create", "read", "update"}},
		{mount + "/subkeys/" + prefix + "/*", []string{"read"}},
		{mount + "/metadata/" + prefix + "/*", []string{"read", "list", "delete"}},
		{mount + "/config", []string{"read"}},
	}
}

// CreateRights returns what is needed besides to create a store: to see that nothing else is in the engine, and to set it to keep one version.
func CreateRights(mount, prefix string) []Right {
	mount = strings.Trim(mount, "/")
	if prefix == "" {
		prefix = DefaultPrefix
	}
	rights := []Right{{mount + "/config", []string{"read", "update"}}}
	path := mount + "/metadata/"
	for folder := range strings.SplitSeq(prefix, "/") {
		rights = append(rights, Right{path, []string{"list"}})
		path += folder + "/"
	}
	return rights
}
