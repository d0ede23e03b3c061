/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * An ACPI 4.0 power meter (ACPI000D) for a QEMU guest, so that the kernel's own
 * acpi_power_meter driver makes its real hwmon device.
 *
 *   iasl -p power-meter power-meter.asl        -> power-meter.aml
 *   qemu-system-x86_64 ... -acpitable file=power-meter.aml
 *
 * The reading in milliwatts is a little-endian 32-bit number in CMOS bytes
 * 0x70..0x73, so a test can change it while the meter is in use:
 *   printf '\x70\x10' | dd of=/dev/port bs=1 seek=112     (index, then data)
 * A value of zero (the state at power-on) reads as 123456 mW; 0xffffffff reads
 * as "unknown", which is what firmware gives while it has no sample.
 */
DefinitionBlock ("", "SSDT", 2, "RIGLAB", "PWRMETER", 0x00000001)
{
    Scope (\_SB)
    {
        Device (PMT0)
        {
            Name (_HID, "ACPI000D")
            Name (_UID, Zero)
            Name (AVGI, 1000)           // averaging interval, ms
            Name (TRPU, Zero)
            Name (TRPL, Zero)

            OperationRegion (CMOS, SystemIO, 0x70, 0x02)
            Field (CMOS, ByteAcc, NoLock, Preserve)
            {
                CIDX, 8,
                CDAT, 8
            }
            IndexField (CIDX, CDAT, ByteAcc, NoLock, Preserve)
            {
                Offset (0x70),
                PWB0, 8,
                PWB1, 8,
                PWB2, 8,
                PWB3, 8
            }

            Method (_STA, 0, NotSerialized) { Return (0x0F) }

            // capabilities: bit 0 measuring, bit 1 trip points
            Name (_PMC, Package (14)
            {
                0x03,           // supported capabilities
                Zero,           // unit: milliwatts
                Zero,           // type: input power
                95000,          // accuracy, 1/1000 of a percent
                1000,           // sampling time, ms
                1000,           // least averaging interval, ms
                60000,          // greatest averaging interval, ms
                1000,           // hysteresis margin, mW
                Zero,           // hardware limit cannot be set
                Zero,
                Zero,
                "RIG-METER",    // model
                "SN0001",       // serial number
                "test rig"      // OEM information
            })

            Method (_PMM, 0, Serialized)
            {
                Local0 = PWB0
                Local0 |= (PWB1 << 8)
                Local0 |= (PWB2 << 16)
                Local0 |= (PWB3 << 24)
                If (Local0 == Zero) { Return (123456) }
                Return (Local0)
            }
            Method (_GAI, 0, NotSerialized) { Return (AVGI) }
            Method (_PAI, 1, NotSerialized) { AVGI = Arg0 Return (Zero) }
            Method (_PTP, 2, NotSerialized) { TRPU = Arg0 TRPL = Arg1 Return (Zero) }
            Method (_PMD, 0, NotSerialized) { Return (Package (1) { \_SB }) }
        }
    }
}
