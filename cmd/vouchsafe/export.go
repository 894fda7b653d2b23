package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

func (p *program) exportCommand() *cobra.Command {
	var (
		folder string
		force  bool
	)
	c := &cobra.Command{
		Use:     "export -o DIR",
		GroupID: "admin",
		Short:   "Write what judges into files that apply takes",
		Long: `Write the policies that judge, the reference values that count or are staged, and the approval rules in force into a folder: policies/NAME.yaml,
references/NAME.yaml and approval-rules.yaml. Policies and approval rules are the bytes that were applied. "vouchsafe apply -f DIR --prune" finds nothing to do then.

A file that is there with another content is an error, and nothing is written, unless --force is given. Files of what is not there any more are left alone.`,
		Example: "  vouchsafe export -o policies/",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVarP(&folder, "output", "o", "", "the `DIR` to write to; made when it is not there")
	_ = c.MarkFlagRequired("output") // the flag is there: one line above
	c.Flags().BoolVar(&force, "force", false, "replace files that have another content")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, _ []string) error {
		files, err := exported(c, a)
		if err != nil {
			return err
		}
		if err := writeFiles(folder, files, force); err != nil {
			return err
		}
		names := make([]string, len(files))
		for i, f := range files {
			names[i] = filepath.Join(folder, f.name)
		}
		if p.json() {
			return p.printJSON(names)
		}
		for _, name := range names {
			fmt.Fprintln(p.out, name)
		}
		return nil
	})
}

// exportedFile is a file to write, by its path in the folder.
type exportedFile struct {
	name    string
	content []byte
}

// exported reads what judges.
func exported(c *cobra.Command, a *admin.Client) ([]exportedFile, error) {
	var files []exportedFile
	rules, err := a.ApprovalRules(c.Context(), wire.RulesQuery{})
	var none *admin.Error
	if err != nil && !(errors.As(err, &none) && none.Code == broker.CodeNotFound) {
		return nil, err
	}
	if err == nil && rules.Policy.Active != 0 {
		files = append(files, exportedFile{"approval-rules.yaml", []byte(rules.Source)})
	}
	infos, err := pages(func(after string) (wire.List[broker.PolicyInfo], error) {
		return a.Policies(c.Context(), wire.Page{After: after})
	})
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		if info.Active == 0 {
			continue
		}
		got, err := a.Policy(c.Context(), wire.PolicyQuery{PolicyName: wire.PolicyName{Name: info.Name}, Version: info.Active})
		if err != nil {
			return nil, err
		}
		files = append(files, exportedFile{filepath.Join("policies", info.Name+".yaml"), []byte(got.Source)})
	}
	names, err := pages(func(after string) (wire.List[string], error) {
		return a.ReferenceSets(c.Context(), wire.Page{After: after})
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		set, err := a.References(c.Context(), name)
		if err != nil {
			return nil, err
		}
		document := reference.Document(set)
		if _, err := reference.ParseDocument(name, document); err != nil {
			return nil, fmt.Errorf("the reference values %s cannot be a document: %w", name, err)
		}
		if !slices.ContainsFunc(set.Values, func(v reference.Value) bool { return v.State != reference.Retired }) {
			continue
		}
		files = append(files, exportedFile{filepath.Join("references", name+".yaml"), document})
	}
	for _, f := range files {
		// Names come from the broker.
		if name := filepath.Base(f.name); f.name != "approval-rules.yaml" && policy.CheckName(name[:len(name)-len(".yaml")]) != nil || !filepath.IsLocal(f.name) {
			return nil, fmt.Errorf("%q is no name of a file", f.name)
		}
	}
	return files, nil
}

// writeFiles writes files that are not there, or are otherwise and may be replaced.
func writeFiles(folder string, files []exportedFile, force bool) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder) // a link in it leads nowhere else
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range files {
		switch there, err := root.ReadFile(f.name); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case !force && !bytes.Equal(there, f.content):
			return no{fmt.Errorf("%s is there and has another content; nothing was written. Say --force to replace it", filepath.Join(folder, f.name))}
		}
	}
	for _, f := range files {
		if err := root.MkdirAll(filepath.Dir(f.name), 0o755); err != nil {
			return err
		}
		if err := root.WriteFile(f.name, f.content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
