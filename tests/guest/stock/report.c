// SPDX-License-Identifier: GPL-2.0
/*
 * Says what no driver says: which driver each PCI device has, whether it uses MSI-X, and which interrupts have come. User space
 * cannot tell it where KVM has no VT-x or AMD-V, for there is none. build.sh puts this file into drivers/virtio.
 */
#define pr_fmt(fmt) "report: " fmt

#include <linux/device/driver.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/irqnr.h>
#include <linux/kernel_stat.h>
#include <linux/pci.h>
#include <linux/printk.h>

static int __init report(void)
{
	struct pci_dev *dev = NULL;
	struct irqaction *action;
	struct irq_desc *desc;
	unsigned int irq;

	wait_for_device_probe();
	for_each_pci_dev(dev)
		pr_info("pci %s [%04x:%04x] driver %s, MSI-X %s\n", pci_name(dev), dev->vendor, dev->device,
			dev->driver ? dev->driver->name : "none", dev->msix_enabled ? "on" : "off");
	for_each_irq_desc(irq, desc)
		for (action = desc->action; action; action = action->next)
			pr_info("irq %u %s, %s: %u times\n", irq, irq_desc_get_chip(desc)->name, action->name,
				kstat_irqs_usr(irq));
	pr_info("end\n");
	return 0;
}
late_initcall_sync(report);
